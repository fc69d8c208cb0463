"""What a ClickHouse exception code asks of the caller: fix the rows, fix the request, stop, or try again."""

from __future__ import annotations

from typing import Final

from schemas.errors import Fatal, HeadraceError, Permanent, Retryable

ROW_FAULTS: Final = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        25,  # CANNOT_PARSE_ESCAPE_SEQUENCE
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        33,  # CANNOT_READ_ALL_DATA
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        53,  # TYPE_MISMATCH
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        128,  # TOO_LARGE_ARRAY_SIZE
        131,  # TOO_LARGE_STRING_SIZE
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        376,  # CANNOT_PARSE_UUID
        407,  # DECIMAL_OVERFLOW
        467,  # CANNOT_PARSE_BOOL
        469,  # VIOLATED_CONSTRAINT
        675,  # CANNOT_PARSE_IPV4
        676,  # CANNOT_PARSE_IPV6
        691,  # UNKNOWN_ELEMENT_OF_ENUM
    }
)
"""The rows cannot be stored as they are; other rows may be."""

REQUEST_FAULTS: Final = frozenset(
    {
        8,  # THERE_IS_NO_COLUMN
        10,  # NOT_FOUND_COLUMN_IN_BLOCK
        16,  # NO_SUCH_COLUMN_IN_TABLE
        36,  # BAD_ARGUMENTS
        42,  # NUMBER_OF_ARGUMENTS_DOESNT_MATCH
        43,  # ILLEGAL_TYPE_OF_ARGUMENT
        44,  # ILLEGAL_COLUMN
        46,  # UNKNOWN_FUNCTION
        47,  # UNKNOWN_IDENTIFIER
        48,  # NOT_IMPLEMENTED
        50,  # UNKNOWN_TYPE
        57,  # TABLE_ALREADY_EXISTS
        60,  # UNKNOWN_TABLE
        62,  # SYNTAX_ERROR
        73,  # UNKNOWN_FORMAT
        81,  # UNKNOWN_DATABASE
        115,  # UNKNOWN_SETTING
        158,  # TOO_MANY_ROWS
        164,  # READONLY
        179,  # MULTIPLE_EXPRESSIONS_FOR_ALIAS
        184,  # ILLEGAL_AGGREGATION
        215,  # NOT_AN_AGGREGATE
        386,  # NO_COMMON_TYPE
        396,  # TOO_MANY_ROWS_OR_BYTES
        452,  # SETTING_CONSTRAINT_VIOLATION
        456,  # UNKNOWN_QUERY_PARAMETER
        457,  # BAD_QUERY_PARAMETER
    }
)
"""The statement cannot work as it is: a mistake of ours, or tables that were not migrated."""

UNKNOWN_DATABASE: Final = 81
NOT_MIGRATED: Final = frozenset({16, 60, UNKNOWN_DATABASE})

ACCESS_FAULTS: Final = frozenset({192, 193, 194, 195, 497, 516})
"""Unknown user, wrong or missing password, address not allowed, access denied, authentication failed."""


class WarehouseBusy(Retryable):
    """The warehouse could not do it now: away, overloaded, out of memory, too many parts, or a code unknown here.

    Codes unknown here are retried, because dropping rows for an error nobody understood would lose them.
    """


class RowsRefused(Permanent):
    """Rows of `table` cannot be stored as they are. `code`: ClickHouse's exception code."""

    def __init__(self, message: str, *, table: str, code: int) -> None:
        super().__init__(message)
        self.table, self.code = table, code


class RequestRefused(Permanent):
    """The statement is wrong, whatever the rows. `table` is empty for reads. `code`: ClickHouse's exception code."""

    def __init__(self, message: str, *, table: str, code: int) -> None:
        super().__init__(message)
        self.table, self.code = table, code


def classify(code: int | None, text: str, *, place: str, table: str = "") -> HeadraceError:
    """The error to raise for an exception code (None: no answer came). `place`: what was tried, and where."""
    message = f"{place}: {text}"
    if code in ACCESS_FAULTS:
        return Fatal(f"{message}. Check the warehouse user and password.")
    if code in ROW_FAULTS:
        return RowsRefused(message, table=table, code=code or 0)
    if code in REQUEST_FAULTS:
        hint = ". Run `headrace migrate`." if code in NOT_MIGRATED else ""
        return RequestRefused(message + hint, table=table, code=code or 0)
    return WarehouseBusy(message)
