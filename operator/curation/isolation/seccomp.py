"""System calls that a process takes from itself, for good (seccomp, Linux on x86-64 and 64-bit Arm).

For a child that has all that it needs: it makes no socket, starts no program, changes no file, and touches no other
process. What it does need (memory, also executable; threads; its channel) stays. What is taken answers EPERM.
"""

import ctypes
import os
import platform
import struct
import sys
from dataclasses import dataclass
from errno import ENOSYS, EPERM
from typing import Final

_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_KILL: Final = 0x8000_0000
_ERRNO: Final = 0x0005_0000
_ALLOW: Final = 0x7FFF_0000

# Classic BPF: load a word, compare, mask, return.
_LOAD: Final = 0x20
_EQUAL: Final = 0x15
_GREATER: Final = 0x25
_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
_X32: Final = 0x4000_0000
_NEWEST: Final = 469
"""Calls that come after it are not known here: they answer as on a kernel that does not have them."""

_CLONE_THREAD: Final = 0x0001_0000
_CLONE_NAMESPACES: Final = 0x7E02_0000
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | 0o20000000  # and O_TMPFILE

# By name, the numbers on x86-64 and on 64-bit Arm; -1: there is none.
_DENIED: Final[dict[str, tuple[int, int]]] = {
    # sockets
    "socket": (41, 198),
    "connect": (42, 203),
    "accept": (43, 202),
    "bind": (49, 200),
    "listen": (50, 201),
    "socketpair": (53, 199),
    "accept4": (288, 242),
    "sendmmsg": (307, 269),
    # programs and processes
    "fork": (57, -1),
    "vfork": (58, -1),
    "execve": (59, 221),
    "execveat": (322, 281),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    # other processes' memory and scheduling
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    # large parts of the kernel
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_setup": (206, 0),
    "io_submit": (209, 2),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "memfd_secret": (447, 447),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "iopl": (172, -1),
    "ioperm": (173, -1),
    "modify_ldt": (154, -1),
    "personality": (135, 92),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    # name spaces and mounts
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    # files
    "creat": (85, -1),
    "openat2": (437, 437),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "mkdir": (83, -1),
    "mkdirat": (258, 34),
    "mknod": (133, -1),
    "mknodat": (259, 33),
    "unlink": (87, -1),
    "unlinkat": (263, 35),
    "rmdir": (84, -1),
    "rename": (82, -1),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "link": (86, -1),
    "linkat": (265, 37),
    "symlink": (88, -1),
    "symlinkat": (266, 36),
    "truncate": (76, 45),
    "chmod": (90, -1),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, -1),
    "lchown": (94, -1),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, -1),
    "utimes": (235, -1),
    "utimensat": (280, 88),
    "futimesat": (261, -1),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "fanotify_init": (300, 262),
    "inotify_init": (253, -1),
    "inotify_init1": (294, 26),
    # what other processes could be met in
    "msgget": (68, 186),
    "semget": (64, 190),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "mq_open": (240, 180),
}


@dataclass(frozen=True, slots=True)
class _Machine:
    """What differs between the machines that are known."""

    column: int
    arch: int
    open: int
    openat: int
    clone: int
    clone3: int
    tgkill: int
    prlimit: int
    setpriority: int


_MACHINES: Final = {
    "x86_64": _Machine(0, 0xC000_003E, 2, 257, 56, 435, 234, 302, 141),
    "aarch64": _Machine(1, 0xC000_00B7, -1, 56, 220, 435, 131, 261, 140),
}


def confine() -> bool:
    """Take them from this process, which has one thread and can gain no privileges. Whether that is done."""
    machine = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None or sys.byteorder != "little":
        return False
    code = _filter(machine, os.getpid())
    kept = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(kept))
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) == 0)


def _filter(machine: _Machine, pid: int) -> bytes:
    code = [
        _step(_LOAD, _ARCH),
        _step(_EQUAL, machine.arch, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
    ]
    if machine.column == 0:
        code += [_step(_ANY_BIT, _X32, 0, 1), _step(_RETURN, _KILL)]
    code += [_step(_GREATER, _NEWEST, 0, 1), _step(_RETURN, _ERRNO | ENOSYS)]
    # The C library then uses `clone`, whose flags can be seen here.
    code += [_step(_EQUAL, machine.clone3, 0, 1), _step(_RETURN, _ERRNO | ENOSYS)]
    for number in (numbers[machine.column] for numbers in _DENIED.values()):
        if number >= 0:
            code += [_step(_EQUAL, number, 0, 1), _step(_RETURN, _ERRNO | EPERM)]
    if machine.open >= 0:
        code += _when(machine.open, _no_bit(1, _WRITES))
    code += _when(machine.openat, _no_bit(2, _WRITES))
    code += _when(machine.clone, [*_some_bit(0, _CLONE_THREAD), *_no_bit(0, _CLONE_NAMESPACES)])
    code += _when(machine.tgkill, _one_of(0, pid))
    code += _when(machine.prlimit, _one_of(0, 0, pid))
    code += _when(machine.setpriority, [*_one_of(0, os.PRIO_PROCESS), *_one_of(1, 0)])
    return b"".join([*code, _step(_RETURN, _ALLOW)])


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _when(number: int, checks: list[bytes]) -> list[bytes]:
    """Of this call alone: what the checks leave is allowed."""
    return [_step(_EQUAL, number, 0, len(checks) + 1), *checks, _step(_RETURN, _ALLOW)]


def _no_bit(argument: int, mask: int) -> list[bytes]:
    return [_load(argument), _step(_ANY_BIT, mask, 0, 1), _step(_RETURN, _ERRNO | EPERM)]


def _some_bit(argument: int, mask: int) -> list[bytes]:
    return [_load(argument), _step(_ANY_BIT, mask, 1, 0), _step(_RETURN, _ERRNO | EPERM)]


def _one_of(argument: int, *values: int) -> list[bytes]:
    compared = [_step(_EQUAL, value, len(values) - index, 0) for index, value in enumerate(values)]
    return [_load(argument), *compared, _step(_RETURN, _ERRNO | EPERM)]


def _load(argument: int) -> bytes:
    return _step(_LOAD, _ARGUMENTS + 8 * argument)
