"""Attacks on files: reading what is not allowed, changing anything outside, devices and kernel knobs."""

from __future__ import annotations

from boundary.attacks import Attack, Place, suite
from boundary.scene import _HOME, Scene

_ATTACKS = [
    *[Attack(f"A1 read ~/{name}", f"won = read(S.home + '/{name}')", "token") for name in _HOME],
    Attack("A2 a file in the host's tmp", "won = read(S.folder + '/secret.txt')", "token"),
    Attack("A2 a file of the host's working directory", "won = read(S.folder + '/work/secret.txt')", "token"),
    Attack("A2 the same by a relative path", "won = read('secret.txt')", "token"),
    Attack("A2 /etc/shadow", "won = len(read('/etc/shadow'))", needs="root"),
    Attack("A2 list the host's tmp", "won = S.beside in os.listdir(os.path.dirname(S.folder))"),
    Attack("A2 list the scene", "won = 'secret.txt' in os.listdir(S.folder)"),
    Attack("A2 list the home", "won = os.listdir(S.home)"),
    Attack("A2 the scratch folder's parent", "won = S.beside in os.listdir('../..')"),
    Attack("A3 a hidden file", "won = read(S.folder + '/shown/.env')", "token"),
    Attack("A3 a file in a hidden folder", "won = read(S.folder + '/shown/hidden/key')", "token"),
    Attack("A3 a hidden file by another way", "won = read(S.folder + '/shown/deep/../.env')", "token"),
    Attack("A3 a hidden file by /proc", "won = read('/proc/self/root' + S.folder + '/shown/.env')", "token"),
    Attack(
        "A3 a hidden file through a folder's descriptor",
        "fd = os.open(S.folder + '/shown', os.O_RDONLY); won = os.read(os.open('.env', os.O_RDONLY, dir_fd=fd), 99)",
        "token",
    ),
    Attack("A3 link a hidden file to another name",
           "p = S.folder + '/out/x'; os.link(S.folder + '/shown/.env', p)\ntry: won = read(p)\nfinally: os.unlink(p)",
           "token"),
    Attack("A3 move the folder of a hidden file", "os.rename(S.folder + '/shown', S.folder + '/out/moved')", "harm"),
    Attack("A3 rename away what covers it", "os.rename(S.folder + '/shown/hidden', S.folder + '/shown/h2')", "harm"),
    Attack("A4 a link to a secret", "os.symlink(S.folder + '/secret.txt', 'l'); won = read('l')", "token"),
    Attack("A4 a link to the root", "os.symlink('/', 'r'); won = read('r' + S.folder + '/secret.txt')", "token"),
    Attack("A4 a link of the host's in a folder that may be written", "won = read(S.folder + '/out/link-before')", "token"),
    Attack("A4 a link in a folder that may be written",
           "p = S.folder + '/out/l-%d' % os.getpid(); os.symlink('../secret.txt', p)\n"
           "try: won = read(p)\nfinally: os.unlink(p)", "token"),
    Attack("A4 write through a link in a folder that may be written",
           "p = S.folder + '/out/w-%d' % os.getpid(); os.symlink('../open/kept', p)\n"
           "try: open(p, 'w').write('changed')\nfinally: os.unlink(p)", "harm"),
    Attack("A4 a link swapped while it is opened",
           "import threading\nd = S.folder + '/out/s-%d' % os.getpid(); os.mkdir(d); open(d + '/a', 'w').close()\n"
           "os.symlink('../../secret.txt', d + '/b')\nstop = []\n"
           "def swap():\n    while not stop:\n        for one, other in (('a', 'c'), ('b', 'a'), ('c', 'b')):\n"
           "            os.rename(d + '/' + one, d + '/' + other)\n"
           "t = threading.Thread(target=swap); t.start()\n"
           "end = time.monotonic() + 0.5\nwhile time.monotonic() < end and not won:\n    try: won = read(d + '/a')\n"
           "    except OSError: pass\nstop.append(1); t.join(); shutil.rmtree(d)", "token"),
    Attack("A4 dot dot from an allowed folder", "won = read(S.folder + '/shown/../secret.txt')", "token"),
    Attack("A4 dot dot from the working directory", "os.chdir(S.folder + '/shown'); os.chdir('..'); won = read('secret.txt')", "token"),
    Attack("A4 fchdir to the parent of a moved folder",
           "d = S.folder + '/out/m'; os.makedirs(d + '/in', exist_ok=True); fd = os.open(d + '/in', os.O_RDONLY)\n"
           "try: os.rename(d + '/in', S.folder + '/out/in2'); won = os.read(os.open('../../secret.txt', os.O_RDONLY, dir_fd=fd), 99)\n"
           "finally: shutil.rmtree(S.folder + '/out/in2', True); shutil.rmtree(d)", "token"),
    Attack("A4 openat2 in the root", "class H(ctypes.Structure): _fields_ = [(n, ctypes.c_uint64) for n in 'fmr']\n"
           "fd = call('openat2', -100, (S.folder + '/secret.txt').encode(), ctypes.byref(H(0, 0, 0)), 24); won = os.read(fd, 99)", "token"),
    Attack("A4 a path only, then its descriptor",
           "fd = os.open(S.folder + '/secret.txt', os.O_PATH); won = read(f'/proc/self/fd/{fd}')", "token"),
    Attack("A4 a handle of a file (Shocker)",
           "h = struct.pack('Ii', 128, 0) + bytes(128); b = ctypes.create_string_buffer(h, len(h)); m = ctypes.c_int()\n"
           "call('name_to_handle_at', -100, (S.folder + '/secret.txt').encode(), b, ctypes.byref(m), 0)\n"
           "d = os.open(S.folder, os.O_RDONLY); won = os.read(call('open_by_handle_at', d, b, 0), 99)", "token", needs="root"),
    Attack("A7 a hard link to a secret", "os.link(S.folder + '/secret.txt', 'h'); won = read('h')", "token"),
    Attack("A7 a hard link in a folder that may be written",
           "os.link(S.folder + '/secret.txt', S.folder + '/out/h'); won = read(S.folder + '/out/h')\nos.unlink(S.folder + '/out/h')", "token"),
    Attack("A7 exchange a file with one outside",
           "open(S.folder + '/out/mine', 'w').write('mine')\ntry:\n call('renameat2', -100, (S.folder + '/open/kept').encode(), -100, (S.folder + '/out/mine').encode(), 2)\n"
           "finally:\n os.unlink(S.folder + '/out/mine')", "harm"),
    Attack("A7 a nameless file linked outside",
           "fd = os.open(S.folder + '/open', os.O_TMPFILE | os.O_WRONLY); os.link(f'/proc/self/fd/{fd}', S.folder + '/open/' + S.stray, src_dir_fd=0, follow_symlinks=True)",
           "harm"),
    *[Attack(f"A10 {path}", f"won = read(f'{path}' + S.folder + '/secret.txt')", "token", maybe="EACCES: the machine's init is closed to root" if path == "/proc/1/root" else "") for path in (
        "/proc/self/root", "/proc/thread-self/root", "/proc/self/root/..", "/proc/self/task/{os.getpid()}/root",
        "/proc/self/cwd/../../../../../../..", "/../..", "/proc/{S.pid}/root", "/proc/{S.host}/root", "/proc/1/root",
        "/proc/{os.getppid()}/root", "/proc/{os.getppid()}/cwd/../../../../..", "/proc/self/fd/../root",
    )],
    Attack("A10 the folder of the host", "won = read(f'/proc/{S.host}/cwd/' + '../' * 9 + S.folder + '/secret.txt')", "token"),
    Attack("A10 a file that the canary holds", "won = read(f'/proc/{S.pid}/fd/{S.held}')", "token"),
    Attack("A10 a file that the canary maps", "won = os.listdir(f'/proc/{S.pid}/map_files')"),
    Attack("A10 chroot, and out of it", "os.mkdir('c'); fd = os.open('/', os.O_RDONLY); os.chroot('c'); os.fchdir(fd); won = True", needs="root"),
    Attack("A11 write into folders of the system and the user",
           "for folder in S.strays:\n try: open(folder + '/' + S.stray, 'w').close()\n except OSError: pass", "harm"),
    Attack("A11 links and folders there",
           "for folder in S.strays:\n for make in (os.mkdir, lambda p: os.symlink('/', p), os.mkfifo):\n"
           "  try: make(folder + '/' + S.stray)\n  except OSError: pass", "harm"),
    Attack("A11 a path file for Python", "for folder in S.strays:\n try: open(folder + '/' + S.stray + '.pth', 'w').write('import os')\n except OSError: pass", "harm"),
    Attack("A11 change a start-up file", "open(S.folder + '/startup/00-first.py', 'a').write('import os')", "harm"),
    Attack("A11 change a file that all may write", "open(S.folder + '/open/kept', 'w').write('changed')", "harm"),
    Attack("A11 truncate it", "os.truncate(S.folder + '/open/kept', 0)", "harm"),
    Attack("A11 append to it", "os.write(os.open(S.folder + '/open/kept', os.O_WRONLY | os.O_APPEND), b'x')", "harm"),
    Attack("A11 remove it", "os.unlink(S.folder + '/open/kept')", "harm"),
    Attack("A11 rename it", "os.rename(S.folder + '/open/kept', S.folder + '/open/gone')", "harm"),
    Attack("A11 replace it", "open('new', 'w').close(); os.rename('new', S.folder + '/open/kept')", "harm"),
    Attack("A11 change what may be read only", "open(S.folder + '/shown/loose', 'w').write('changed')", "harm"),
    Attack("A11 truncate what may be read only", "os.truncate(S.folder + '/shown/loose', 0)", "harm"),
    Attack("A11 open it to read, and make that writable by /proc",
           "fd = os.open(S.folder + '/shown/loose', os.O_RDONLY); os.write(os.open(f'/proc/self/fd/{fd}', os.O_WRONLY), b'changed')", "harm"),
    Attack("A11 map it to write", "f = os.open(S.folder + '/shown/loose', os.O_RDWR); mmap.mmap(f, 9)[:] = b'touched!!'", "harm"),
    Attack("A11 copy over it", "i = open('i', 'w+b'); i.write(b'changed'); i.flush(); o = os.open(S.folder + '/shown/loose', os.O_WRONLY); os.copy_file_range(i.fileno(), o, 7, 0)", "harm"),
    Attack("A11 remove a folder that may be written", "os.rmdir(S.folder + '/spare')", "harm", refused="EACCES EBUSY"),
    Attack("A11 rename the folder that may be written", "os.rename(S.folder + '/out', S.folder + '/open/out')", "harm"),
    Attack("A11 rewrite a package", "open(S.folder + '/packages/module.py', 'w').write('import os')", "harm"),
    Attack("A11 leave a cache of byte code", "sys.path.insert(0, S.folder + '/packages'); sys.dont_write_bytecode = False; import module", "harm"),
    Attack("A11 the library of Python", "won = os.access(os.path.dirname(os.__file__), os.W_OK)", needs="root"),
    Attack("A11 the program of Python", "won = os.access(S.python, os.W_OK) or os.access(os.path.dirname(S.python), os.W_OK)", needs="root"),
    Attack("A11 a program of the system", "won = open('/usr/bin/env', 'r+b')", needs="root"),
    Attack("A11 isolate_magic itself", "import isolate_magic; won = open(isolate_magic.__file__, 'r+b')", needs="root"),
    # A running program is busy (ETXTBSY) for whoever may write it.
    *[Attack(f"A13 {name}", f"try: won = {code}\nexcept OSError as e: won = e.errno == errno.ETXTBSY\nif not won: {code}", needs="root") for name, code in {
        "the running program": "os.open('/proc/self/exe', os.O_RDWR)",
        "the program by its descriptor": "os.open('/proc/self/fd/%d' % os.open('/proc/self/exe', os.O_PATH), os.O_WRONLY)",
        "truncate the program": "os.truncate(sys.executable, os.path.getsize(sys.executable)) or True",
    }.items()],
    Attack("A13 a program that has ended, by its descriptor (CVE-2019-5736)",
           "p = subprocess.Popen([S.folder + '/shown/program', '9'])\ntry: fd = os.open(f'/proc/{p.pid}/exe', os.O_PATH)\nfinally: p.kill(); p.wait()\n"
           "os.write(os.open(f'/proc/self/fd/{fd}', os.O_WRONLY), b'changed')", "harm"),
    *[Attack(f"A14 {name}", code, "harm") for name, code in {
        "chmod": "os.chmod(S.folder + '/shown/loose', 0o600)",
        "chmod of a folder": "os.chmod(S.folder + '/shown/deep', 0o700)",
        "fchmod of an open file": "os.fchmod(os.open(S.folder + '/shown/loose', os.O_RDONLY), 0o600)",
        "fchmodat2": "call('fchmodat2', -100, (S.folder + '/shown/loose').encode(), 0o600, 0)",
        "chmod outside": "os.chmod(S.folder + '/open/kept', 0o600)",
        "utime": "os.utime(S.folder + '/shown/loose', (1, 1))",
        "utime outside": "os.utime(S.folder + '/open/kept', (1, 1))",
        "utime of an open file": "os.utime(os.open(S.folder + '/shown/loose', os.O_RDONLY), (1, 1))",
        "setxattr": "os.setxattr(S.folder + '/open/kept', 'user.x', b'1')",
        "setxattr of what is shown": "os.setxattr(S.folder + '/shown/loose', 'user.x', b'1')",
        "setxattr of an open file": "os.setxattr(os.open(S.folder + '/shown/loose', os.O_RDONLY), 'user.x', b'1')",
    }.items()],
    Attack("A14 chown", "os.chown(S.folder + '/open/kept', 1, 1)", "harm", needs="root"),
    Attack("A14 chown of what is shown", "os.lchown(S.folder + '/shown/loose', 1, 1)", "harm", needs="root"),
    Attack("A14 flags of a file", "fd = os.open(S.folder + '/shown/loose', os.O_RDONLY); won = fcntl.ioctl(fd, 0x40086602, struct.pack('l', 0x80)) is not None", maybe="ENOTTY EOPNOTSUPP: a file system without flags"),
    Attack("A14 watch a folder", "won = call('inotify_add_watch', call('inotify_init1', 0), (S.folder + '/open').encode(), 0xfff)"),
    Attack("A14 touch", "os.utime(S.folder + '/open/kept')", "harm"),
    Attack("A14 touch what is shown", "os.utime(S.folder + '/shown/loose')", "harm"),
    *[Attack(f"A16 open {name}", f"fd = os.open('{name}', os.{how}); won = os.fstat(fd).st_rdev != os.makedev(1, 3)", needs="root",
             maybe="ENOENT ENXIO ENODEV EPERM: there is no such device, or not even root may open it")
      for how, names in (("O_RDONLY", "hwrng"), ("O_RDWR", """mem port kvm fuse ptmx vda sda loop0 loop-control net/tun kmsg console vsock vhost-net nvidia0
                          dri/card0 uinput tty1 userfaultfd""")) for name in (f"/dev/{name}" for name in names.split())],
    *[Attack(f"A16 make a {kind} device", f"os.mknod('dev', stat.{flag} | 0o666, os.makedev({number})); won = True", needs="root")
      for kind, flag, number in (("block", "S_IFBLK", "254, 0"), ("character", "S_IFCHR", "1, 1"))],
    Attack("A16 open a made device", "os.mknod('zero', stat.S_IFCHR | 0o666, os.makedev(1, 5)); won = os.open('zero', os.O_RDWR)", needs="root"),
    Attack("A17 lock a shared file", "fcntl.flock(os.open(S.folder + '/shown/data', os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB); won = True"),
    Attack("A17 lock a record to write", "fcntl.lockf(os.open(S.folder + '/shown/loose', os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB); won = True"),
    Attack("A17 lease a file", "fcntl.fcntl(os.open(S.folder + '/shown/data', os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK); won = True"),
    Attack("A17 hear of changes (F_NOTIFY)", "fcntl.fcntl(os.open(S.folder + '/shown', os.O_RDONLY), fcntl.F_NOTIFY, 1); won = True"),
    *[Attack(f"A19 write {name}", f"won = os.open('{name}', os.O_WRONLY)", needs="root", maybe="ENOENT EPERM: there is no such knob, or the kernel is locked down")
      for name in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory",
                   "/sys/kernel/uevent_helper", "/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/unified/cgroup.procs",
                   "/sys/fs/cgroup/cgroup.procs", "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/power/state",
                   "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/yama/ptrace_scope", "/proc/mtrr", "/proc/irq/default_smp_affinity",
                   "/sys/devices/system/cpu/cpu0/online", "/proc/sys/fs/binfmt_misc/register", "/sys/kernel/debug/sched/features")],
    Attack("A19 another /proc that can be written", "os.mkdir('p')\nif libc.mount(b'proc', b'p', b'proc', 0, None): raise OSError(ctypes.get_errno(), 'mount')\n"
           "libc.umount2(b'p', 2); won = True", needs="root"),
]  # fmt: skip

test_with_the_sandbox_off_it_gets_through, test_it_is_contained = suite(_ATTACKS)


def test_stat_tells_of_files_outside_in_tier_l_alone(
    tier: str, places: dict[str, Place], scene: Scene
) -> None:
    attack = Attack("A2 stat", "won = os.stat(S.folder + '/secret.txt').st_size == 39")
    for name, sees in (("off", True), (tier, tier == "L")):
        assert bool(places[name].attempt(attack, scene).get("won")) == sees
