"""What a store refuses, by name, the same on every store.

StoreError
├── StoreNotFound         nothing at the location
├── BrokenStore           a Ladybug file that does not open any more
├── IngestUnderWay        half of an ingest is no catalogue: one is going on, or was cut off
├── StoreLocked           another handle holds the Ladybug file, another ingest the Neo4j database; names its process
├── ReadOnlyStore         a write through a handle that was opened to read, or into a database that takes none
├── SchemaError           tables that are no catalogue: missing columns, empty ids, duplicates, unknown items
├── MappingError          a mapping file that is none: unknown or missing entries, a password in it
├── UnknownItems          ids or ordinals that the store has not
├── UnknownProposals      completions to accept or reject that the store has not
├── NoEmbedding           an item without a vector, or vectors without their index
├── QueryError            the database refused the query
│   ├── QueryParameterError   a $parameter without a value, or a value without a $parameter
│   └── TransactionTooLarge   the server's limit of memory a transaction is reached
├── UnsupportedQuery      a store without Cypher (snapshot, in memory)
├── ConnectionFailed      no server there, or it refused the user
└── StaleSnapshot         a snapshot older than the store beside it
"""


class StoreError(Exception):
    """Anything that a store refuses."""


class StoreNotFound(StoreError): ...


class BrokenStore(StoreError): ...


class IngestUnderWay(StoreError): ...


class StoreLocked(StoreError): ...


class ReadOnlyStore(StoreError): ...


class SchemaError(StoreError): ...


class MappingError(StoreError): ...


class UnknownItems(StoreError): ...


class UnknownProposals(StoreError): ...


class NoEmbedding(StoreError): ...


class QueryError(StoreError): ...


class QueryParameterError(QueryError): ...


class TransactionTooLarge(QueryError): ...


class UnsupportedQuery(StoreError): ...


class ConnectionFailed(StoreError): ...


class StaleSnapshot(StoreError): ...
