"""Types to `heroku run bash` on a terminal of 33 lines and 101 columns, and reads what comes back."""
import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

pid, terminal = pty.fork()
if pid == 0:
    # Until the terminal has its size.
    time.sleep(0.5)
    os.execvp("heroku", ["heroku", "run", "-a", "hello", "--", "bash"])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
seen = b""


def until(text):
    global seen
    end = time.monotonic() + 60
    while text not in seen:
        if time.monotonic() > end:
            sys.exit(f"no {text} in {seen.decode()}")
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 4096)
    seen = seen.split(text, 1)[1]


until(b"$ ")
os.write(terminal, b"stty size; echo $((1 + 1)) $COLUMNS\n")
until(b"33 101")
until(b"2 101")
# By a process that has the terminal by then: a shell that is interrupted before waits for what it starts.
os.write(terminal, b"sh -c \"echo sle''eping; exec sleep 100\"\n")
until(b"sleeping")
os.write(terminal, b"\x03")
until(b"$ ")
os.write(terminal, b"echo after $?\n")
until(b"after 130")
os.write(terminal, b"exit\n")
try:
    while os.read(terminal, 4096):
        pass
except OSError:
    pass
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print("all said")
