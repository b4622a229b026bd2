"""What can go wrong with a backup.

BackupFailed: none was made, or one could not be put back; says why
└── Refused: the file is not a whole backup, or not ours to open; nothing was written anywhere
"""


class BackupFailed(Exception):
    """One clear line for the operator."""


class Refused(BackupFailed):
    """A file that is damaged, cut off, encrypted for another key, or no backup at all."""
