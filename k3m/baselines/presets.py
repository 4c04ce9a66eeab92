"""The baselines by name (paper.md section 5)."""

from dataclasses import replace

from k3m.baselines.layers import CoAttentionMixer, CrossModalityMixer, OneStream, TokenVisualStream, TreeStream
from k3m.baselines.model import Preset

VILBERT = Preset(
    source="Lu et al., ViLBERT, NeurIPS 2019: six layers of words alone, then six blocks of co-attention and of each "
    "stream alone; objects enter the first of them as embedded; masked words, masked regions, alignment",
    mixer=CoAttentionMixer,
    text=6,
    image=0,
    mixed=6,
    pkg=False,
    objectives=("mlm", "mom", "match"),
)
LXMERT = Preset(
    source="Tan and Bansal, LXMERT, EMNLP 2019: 9 language, 5 object and 5 cross-modality layers; masked words, masked "
    "objects, matching (its question answering needs questions, which a catalogue has not)",
    mixer=CrossModalityMixer,
    text=9,
    image=5,
    mixed=5,
    pkg=False,
    objectives=("mlm", "mom", "match"),
)
VLBERT = Preset(
    source="Su et al., VL-BERT, ICLR 2020: one stream of 12 layers, a visual feature with every word; masked words "
    "with visual clues, masked regions with linguistic clues, and no matching, which they found to harm",
    mixer=TokenVisualStream,
    text=0,
    image=0,
    mixed=12,
    pkg=False,
    objectives=("mlm", "mom"),
)
TEXT = Preset(
    source="Devlin et al., BERT, NAACL 2019, over title and triples; masked words alone",
    mixer=OneStream,
    text=0,
    image=0,
    mixed=12,
    pkg=True,
    reads_images=False,
    objectives=("mlm",),
)
KBERT = replace(
    TEXT,
    source="Liu et al., K-BERT, AAAI 2020: triples as branches of the sentence, soft positions, a visible matrix; here "
    "every triple hangs on [CLS], since the item is the entity",
    mixer=TreeStream,
    tree=True,
)
VISUALBERT = Preset(
    source="Li et al., VisualBERT, 2019: one stream; masked words, whose photograph is whole, and matching",
    mixer=OneStream,
    text=0,
    image=0,
    mixed=12,
    pkg=False,
    objectives=("mlm", "match"),
)
UNICODER_VL = Preset(
    source="Li et al., Unicoder-VL, AAAI 2020: one stream; masked words, masked objects, matching",
    mixer=OneStream,
    text=0,
    image=0,
    mixed=12,
    pkg=False,
    objectives=("mlm", "mom", "match"),
)
UNITER = replace(
    UNICODER_VL,
    source="Chen et al., UNITER, ECCV 2020: one stream; conditional masking, at a step words or objects and never "
    "both; matching (its word-region alignment by optimal transport is left out)",
    one_masked=True,
)
VIDEOBERT = replace(
    UNICODER_VL,
    source="Sun et al., VideoBERT, ICCV 2019: one stream of words and visual words, both masked; alignment",
    visual_words=True,
)
PKGM = replace(
    TEXT,
    source="Zhang et al., PKGM, ICDE 2021: triple and relation query modules, whose service vectors stand behind the "
    "title (the variant with both); see `service` for what is ours",
    pkg=False,
    service=True,
    objectives=("mlm", "triple", "relation"),
)
PRESETS: dict[str, Preset] = {
    "vilbert": VILBERT,
    "vilbert_pkg": replace(VILBERT, pkg=True),
    "lxmert": LXMERT,
    "lxmert_pkg": replace(LXMERT, pkg=True),
    "vlbert": VLBERT,
    "vlbert_pkg": replace(VLBERT, pkg=True),
    "text_pkg": TEXT,
    "kbert": KBERT,
    "visualbert": VISUALBERT,
    "unicoder_vl": UNICODER_VL,
    "uniter": UNITER,
    "videobert": VIDEOBERT,
    "pkgm": PKGM,
}
"""Trained by gradient, over the run's stream; `models.NAMES` has the others too."""
