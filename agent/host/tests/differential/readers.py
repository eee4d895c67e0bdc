"""Lists archives as Python reads them: a line `tar FILE` or `zip FILE` in, a line of JSON out.

The answer is `{"members": [[name, kind, link, content in base64, can be run], ...]}` in the archive's order, kind being
`folder`, `file`, `link` or `hard`, or `{"error": text}`. Names keep bytes that are no text as surrogates.
"""
import base64, json, sys, tarfile, zipfile


def tar(path):
    members = []
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            content = b""
            if member.isdir():
                kind = "folder"
            elif member.issym():
                kind = "link"
            elif member.islnk():
                kind = "hard"
            elif member.isreg():
                kind = "file"
                content = archive.extractfile(member).read()
                if len(content) != member.size:
                    raise ValueError("cut off")
            else:
                kind = "other"
            link = member.linkname if kind in ("link", "hard") else ""
            members.append([member.name, kind, link, base64.b64encode(content).decode(), bool(member.mode & 0o100)])
    return members


def zip(path):
    members = []
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            content = archive.read(entry)
            mode = entry.external_attr >> 16 if entry.create_system == 3 else 0
            link = ""
            if entry.is_dir():
                kind = "folder"
            elif mode & 0o170000 == 0o120000:
                kind, link = "link", content.decode("utf-8", "surrogateescape")
            else:
                kind = "file"
            members.append([entry.filename, kind, link, base64.b64encode(content).decode(), bool(mode & 0o100)])
    return members


for line in sys.stdin:
    kind, path = line.rstrip("\n").split(" ", 1)
    try:
        answer = {"members": (tar if kind == "tar" else zip)(path)}
    except Exception as why:  # whatever it says: it does not read this
        answer = {"error": f"{type(why).__name__}: {why}"}
    print(json.dumps(answer), flush=True)
