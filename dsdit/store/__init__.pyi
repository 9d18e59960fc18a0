from .array_spec import ArraySpec as ArraySpec
from .arrays import arrays_of as arrays_of
from .arrays import create_array as create_array
from .arrays import forget_arrays as forget_arrays
from .arrays import open_group as open_group
from .arrays import read_block as read_block
from .arrays import read_window as read_window
from .arrays import write_shard as write_shard
from .objects import check_writable as check_writable
from .objects import filesystem as filesystem
from .objects import is_remote as is_remote
from .objects import join as join
from .objects import list_names as list_names
from .objects import modified_at as modified_at
from .objects import read_bytes as read_bytes
from .objects import read_json as read_json
from .objects import remove as remove
from .objects import remove_object as remove_object
from .objects import write_bytes as write_bytes
from .objects import write_file as write_file
from .objects import write_json as write_json

__all__ = [
    "ArraySpec",
    "arrays_of",
    "check_writable",
    "create_array",
    "filesystem",
    "forget_arrays",
    "is_remote",
    "join",
    "list_names",
    "modified_at",
    "open_group",
    "read_block",
    "read_bytes",
    "read_json",
    "read_window",
    "remove",
    "remove_object",
    "write_bytes",
    "write_file",
    "write_json",
    "write_shard",
]
