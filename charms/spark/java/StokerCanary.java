import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.management.ManagementFactory;
import java.lang.reflect.Array;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;

/**
 * Proves that the Hadoop client on the class path works against the configured filesystem: makes a folder of its
 * own, sweeps what an earlier run left there, writes a file, reads it back, lists and deletes it, without trash.
 *
 * Only reflection, so that one class file serves every Hadoop. The argument is the folder. The last line of stdout
 * is one JSON object. Exit 0: works. 75: cannot be told now (unreachable, safe mode, over quota, no DataNode yet, may not
 * write there).
 * 1: this client does not work here.
 */
public final class StokerCanary {
    private static final long STALE_MILLIS = 10 * 60 * 1000L;
    private static final String[] PASSING = {
        "java.net.ConnectException", "java.net.NoRouteToHostException", "java.net.SocketTimeoutException",
        "java.net.SocketException", "java.net.UnknownHostException", "java.io.EOFException",
        "org.apache.hadoop.net.ConnectTimeoutException", "org.apache.hadoop.ipc.StandbyException",
        "org.apache.hadoop.ipc.RetriableException", "org.apache.hadoop.ipc.ObserverRetryOnActiveException",
        "SafeModeException", "QuotaExceededException", "NSQuotaExceededException", "DSQuotaExceededException",
        // Who may write there is no matter of the client.
        "AccessControlException",
    };
    private static final String[] PASSING_TEXT = {
        "Name node is in safe mode", "could only be written to 0 of the", "could only be replicated to 0 nodes",
        "node(s) are excluded in this operation", "Server IPC connection was closed", "quota",
    };

    private StokerCanary() {
    }

    public static void main(String[] args) {
        // Logging back ends write to stdout in some builds; the result has to stay the last line there.
        java.io.PrintStream out = System.out;
        System.setOut(System.err);
        String version = null;
        int exit;
        String line;
        try {
            if (args.length != 1) {
                throw new IllegalArgumentException("usage: StokerCanary FOLDER");
            }
            Class<?> info = Class.forName("org.apache.hadoop.util.VersionInfo");
            version = (String) info.getMethod("getVersion").invoke(null);
            String filesystem = prove(args[0]);
            line = "{\"ok\":true,\"hadoop\":" + quote(version) + ",\"filesystem\":" + quote(filesystem)
                + ",\"java\":" + quote(System.getProperty("java.version")) + "}";
            exit = 0;
        } catch (Throwable thrown) {
            Throwable cause = unwrap(thrown);
            boolean later = passes(cause);
            String why = oneLine(cause);
            System.err.println((later ? "not now: " : "does not work: ") + why);
            line = "{\"ok\":false,\"hadoop\":" + (version == null ? "null" : quote(version)) + ",\"reason\":" + quote(why) + "}";
            exit = later ? 75 : 1;
        }
        out.println(line);
        out.flush();
        // Client threads and shutdown hooks of a broken client must not keep or delay the answer.
        Runtime.getRuntime().halt(exit);
    }

    private static String prove(String folder) throws Exception {
        Class<?> confClass = Class.forName("org.apache.hadoop.conf.Configuration");
        Class<?> pathClass = Class.forName("org.apache.hadoop.fs.Path");
        Class<?> fsClass = Class.forName("org.apache.hadoop.fs.FileSystem");
        Object conf = confClass.getConstructor().newInstance();
        Method set = confClass.getMethod("set", String.class, String.class);
        // An answer within seconds: whoever runs this tries again by itself.
        String[][] patience = {
            {"ipc.client.connect.max.retries", "1"}, {"ipc.client.connect.max.retries.on.timeouts", "1"},
            {"ipc.client.connect.retry.interval", "200"}, {"ipc.client.connect.timeout", "5000"},
            {"dfs.client.failover.max.attempts", "1"}, {"dfs.client.failover.sleep.base.millis", "100"},
            {"dfs.client.failover.connection.retries", "1"}, {"dfs.client.retry.policy.enabled", "false"},
            {"dfs.client.block.write.retries", "1"},
            {"dfs.blocksize", "1048576"}, {"fs.automatic.close", "false"},
        };
        for (String[] pair : patience) {
            set.invoke(conf, pair[0], pair[1]);
        }
        Object root = pathClass.getConstructor(String.class).newInstance(folder);
        Object fs = fsClass.getMethod("get", confClass).invoke(null, conf);
        Method delete = fsClass.getMethod("delete", pathClass, boolean.class);
        Method list = fsClass.getMethod("listStatus", pathClass);
        fsClass.getMethod("mkdirs", pathClass).invoke(fs, root);
        String process = ManagementFactory.getRuntimeMXBean().getName().replaceAll("[^A-Za-z0-9]", "-");
        sweep(fs, root, list, delete, process.substring(process.indexOf('-')));

        Object file = pathClass.getConstructor(pathClass, String.class).newInstance(root, "try-" + process);
        byte[] text = ("stoker canary " + process + "\n").getBytes(StandardCharsets.UTF_8);
        boolean done = false;
        try {
            OutputStream to = (OutputStream) fsClass.getMethod("create", pathClass, boolean.class).invoke(fs, file, true);
            try {
                to.write(text);
            } finally {
                to.close();
            }
            InputStream from = (InputStream) fsClass.getMethod("open", pathClass).invoke(fs, file);
            ByteArrayOutputStream back = new ByteArrayOutputStream();
            try {
                byte[] chunk = new byte[4096];
                for (int n = from.read(chunk); n >= 0; n = from.read(chunk)) {
                    back.write(chunk, 0, n);
                }
            } finally {
                from.close();
            }
            if (!java.util.Arrays.equals(text, back.toByteArray())) {
                throw new IllegalStateException("read back " + back.size() + " bytes that are not those written");
            }
            done = true;
        } finally {
            Object gone = null;
            try {
                gone = delete.invoke(fs, file, false);
            } catch (InvocationTargetException failed) {
                if (done) {
                    throw failed;
                }
            }
            if (done && !Boolean.TRUE.equals(gone)) {
                throw new IllegalStateException("cannot delete " + file);
            }
        }
        return String.valueOf(fsClass.getMethod("getUri").invoke(fs));
    }

    /** Removes files of runs that were killed: of this host's at once, a young one of another host may still run. */
    private static void sweep(Object fs, Object root, Method list, Method delete, String host) throws Exception {
        Object found = list.invoke(fs, root);
        Class<?> status = found.getClass().getComponentType();
        Method path = status.getMethod("getPath");
        Method time = status.getMethod("getModificationTime");
        Method name = path.getReturnType().getMethod("getName");
        boolean tells = new File("/proc/self").exists();
        long limit = System.currentTimeMillis() - STALE_MILLIS;
        for (int i = 0; i < Array.getLength(found); i++) {
            Object entry = Array.get(found, i);
            String called = (String) name.invoke(path.invoke(entry));
            boolean ours = tells && called.startsWith("try-") && called.endsWith(host);
            boolean ended = ours && !new File("/proc/" + called.substring(4, called.length() - host.length())).exists();
            if (ended || (Long) time.invoke(entry) < limit) {
                delete.invoke(fs, path.invoke(entry), true);
            }
        }
    }

    private static Throwable unwrap(Throwable thrown) {
        Throwable at = thrown;
        while ((at instanceof InvocationTargetException || at instanceof ExceptionInInitializerError
            || at instanceof java.lang.reflect.UndeclaredThrowableException) && at.getCause() != null) {
            at = at.getCause();
        }
        return at;
    }

    private static boolean passes(Throwable thrown) {
        int depth = 0;
        for (Throwable at = thrown; at != null && depth < 20; at = at.getCause(), depth++) {
            if (at instanceof Error) {
                return false;
            }
            String name = at.getClass().getName();
            try {
                // RemoteException carries the server's class by name.
                name = name + " " + at.getClass().getMethod("getClassName").invoke(at);
            } catch (ReflectiveOperationException noRemote) {
                // Not a RemoteException: its own name says enough.
            }
            String text = String.valueOf(at.getMessage());
            for (String known : PASSING) {
                if (name.contains(known)) {
                    return true;
                }
            }
            for (String known : PASSING_TEXT) {
                if (text.contains(known)) {
                    return true;
                }
            }
        }
        return false;
    }

    private static String oneLine(Throwable thrown) {
        String text = String.valueOf(thrown).replace('\r', '\n');
        int end = text.indexOf('\n');
        text = end < 0 ? text : text.substring(0, end);
        Throwable cause = thrown.getCause();
        if (end < 0 && cause != null && cause != thrown && !text.contains(String.valueOf(cause.getMessage()))) {
            String more = String.valueOf(cause);
            int stop = more.indexOf('\n');
            text = text + ": " + (stop < 0 ? more : more.substring(0, stop));
        }
        return text.length() > 240 ? text.substring(0, 240) : text;
    }

    private static String quote(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < ' ') {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        return out.append('"').toString();
    }
}
