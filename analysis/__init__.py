"""What a trained run says about a catalogue: completions, metrics, reports."""
