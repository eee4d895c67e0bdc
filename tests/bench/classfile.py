"""A jar of one small class, written byte by byte: what it calls is known, and no compiler is needed.

Owns the format of class files as far as that takes. `companion` is the user jar of the matrix.
"""
import pathlib, struct, zipfile

PUBLIC_STATIC, PUBLIC_SUPER = 0x0009, 0x0021
JAVA_8 = 52
ALOAD_0, ALOAD_1, INVOKEVIRTUAL, ARETURN = 0x2A, 0x2B, 0xB6, 0xB0
STAMP = (2024, 1, 1, 0, 0, 0)


class Pool:
    """The constants of a class, each once."""

    def __init__(self):
        self.entries = []

    def add(self, entry):
        if entry not in self.entries:
            self.entries.append(entry)
        return self.entries.index(entry) + 1

    def text(self, text):
        return self.add(struct.pack(">BH", 1, len(text)) + text.encode())

    def type(self, name):
        return self.add(struct.pack(">BH", 7, self.text(name)))

    def method(self, owner, name, descriptor):
        both = self.add(struct.pack(">BHH", 12, self.text(name), self.text(descriptor)))
        return self.add(struct.pack(">BHH", 10, self.type(owner), both))


def caller(name, method, owner, called, takes, gives):
    """The class NAME with `static Object METHOD(OWNER self, TAKES value) { return self.CALLED(value); }`."""
    pool = Pool()
    code = struct.pack(">BBBHB", ALOAD_0, ALOAD_1, INVOKEVIRTUAL, pool.method(owner, called, f"(L{takes};)L{gives};"), ARETURN)
    body = struct.pack(">HHI", 2, 2, len(code)) + code + struct.pack(">HH", 0, 0)
    descriptor = f"(L{owner};L{takes};)Ljava/lang/Object;"
    one = struct.pack(">HHHH", PUBLIC_STATIC, pool.text(method), pool.text(descriptor), 1)
    one += struct.pack(">HI", pool.text("Code"), len(body)) + body
    rest = struct.pack(">HHHHHH", PUBLIC_SUPER, pool.type(name), pool.type("java/lang/Object"), 0, 0, 1) + one + struct.pack(">H", 0)
    head = struct.pack(">IHHH", 0xCAFEBABE, 0, JAVA_8, len(pool.entries) + 1)
    return head + b"".join(pool.entries) + rest


def companion(folder):
    """A jar that asks a filesystem for what clients have only from Hadoop 3.4.1 on."""
    code = caller("bench/Companion", "asks", "org/apache/hadoop/fs/FileSystem", "createBulkDelete",
                  "org/apache/hadoop/fs/Path", "org/apache/hadoop/fs/BulkDelete")
    path = pathlib.Path(folder) / "bench-companion-1.0.jar"
    with zipfile.ZipFile(path, "w") as jar:
        jar.writestr(zipfile.ZipInfo("bench/Companion.class", STAMP), code)
    return path
