"""Asks Python's logging what it writes for configurations, and keeps the answers in expected.json beside this file.

Run with Python 3.11 when a case is added: python3 expected.py
"""
import io, json, logging, logging.config, logging.handlers, os, sys, tempfile, time

os.environ["TZ"] = "UTC"
time.tzset()


def ini(root="level=DEBUG\nhandlers=h", h="class=StreamHandler\nargs=(sys.stdout,)\nformatter=f",
        f="format=%(message)s", loggers="", lk="root", hk="h", fk="f", extra=""):
    return (f"[loggers]\nkeys={lk}\n[handlers]\nkeys={hk}\n[formatters]\nkeys={fk}\n[logger_root]\n{root}\n{loggers}\n"
            f"[handler_h]\n{h}\n[formatter_f]\n{f}\n{extra}\n")


def x(rest):
    return "[logger_x]\nqualname=mapproxy\nhandlers=h\n" + rest


ONE = [["mapproxy.source.wms", 30, "it's \"here\""]]
CASES = [
    ("the root alone", ini(), ONE),
    ("a root without a level", ini(root="handlers=h"), [["a", 20, "i"], ["a", 30, "w"]]),
    ("a root without handlers", ini(root="level=INFO\nhandlers="), ONE),
    ("a root without a key for handlers", ini(root="level=INFO"), ONE),
    ("level fatal", ini(root="level=FATAL\nhandlers=h"), ONE),
    ("level warn", ini(root="level=WARN\nhandlers=h"), [["a", 20, "i"], ["a", 30, "w"]]),
    ("level notset", ini(root="level=NOTSET\nhandlers=h"), [["a", 10, "d"]]),
    ("level as a number", ini(root="level=10\nhandlers=h"), ONE),
    ("level in small letters", ini(root="level=info\nhandlers=h"), ONE),
    ("an unknown level", ini(root="level=LOUD\nhandlers=h"), ONE),
    ("an unknown handler", ini(root="level=INFO\nhandlers=h,x"), ONE),
    ("a handler that is not listed", ini(hk=""), ONE),
    ("an unknown formatter", ini(h="class=StreamHandler\nargs=(sys.stdout,)\nformatter=zz"), ONE),
    ("no formatter", ini(h="class=StreamHandler\nargs=(sys.stdout,)"), ONE),
    ("a stream by keyword", ini(h="class=StreamHandler\nkwargs={'stream': sys.stdout}"), ONE),
    ("arguments as a list", ini(h="class=StreamHandler\nargs=[sys.stdout]"), ONE),
    ("a class with its module", ini(h="class=logging.StreamHandler\nargs=(sys.stdout,)"), ONE),
    ("a handler with a level", ini(h="class=StreamHandler\nargs=(sys.stdout,)\nlevel=ERROR"), ONE + [["a", 40, "e"]]),
    ("a section that is missing", ini(hk="h,k"), ONE),
    ("a logger that is missing", ini(lk="root,x"), ONE),
    ("no root", ini(lk="x", loggers=x("level=INFO")), ONE),
    ("no formatters", ini(fk="", h="class=StreamHandler\nargs=(sys.stdout,)"), ONE),
    ("no section of loggers", "[handlers]\nkeys=\n[formatters]\nkeys=\n", ONE),
    ("lines go up", ini(lk="root,x", loggers=x("level=INFO")), ONE),
    ("lines stay", ini(lk="root,x", loggers=x("level=INFO\npropagate=0")), ONE + [["other", 20, "o"]]),
    ("propagate that is no number", ini(lk="root,x", loggers=x("propagate=false")), ONE),
    ("no qualname", ini(lk="root,x", loggers="[logger_x]\nhandlers=h\nlevel=INFO"), ONE),
    ("a level that hides lines", ini(lk="root,x", loggers=x("level=ERROR")), ONE + [["mapproxyx", 10, "d"]]),
    ("levels above do not matter", ini(root="level=ERROR\nhandlers=h", lk="root,x", loggers=x("level=DEBUG")), ONE),
    ("notset inherits", ini(root="level=ERROR\nhandlers=h", lk="root,x", loggers=x("level=NOTSET")), ONE),
    ("spaces between keys", ini(lk=" root , x ", loggers=x("level=INFO")), ONE),
    ("a name twice", ini(lk="root,x,x", loggers=x("level=INFO")), ONE),
    ("a handler twice", ini(root="level=INFO\nhandlers= h , h "), ONE),
    ("two loggers and two handlers",
     ini(lk="root,x,y", hk="h,k", fk="f,g",
         loggers="[logger_x]\nqualname=a\nhandlers=k\n[logger_y]\nqualname=a.b\nhandlers=h\nlevel=ERROR",
         extra="[handler_k]\nclass=StreamHandler\nargs=(sys.stdout,)\nformatter=g\n[formatter_g]\nformat=K %(name)s"),
     [["a.b.c", 20, "i"], ["a.b.c", 40, "e"], ["a.x", 20, "ax"], ["ab", 20, "ab"], ["a", 10, "a"]]),
    ("a logger that stops in the middle",
     ini(lk="root,x,y", loggers="[logger_x]\nqualname=a\nhandlers=h\npropagate=0\n"
                                "[logger_y]\nqualname=a.b\nhandlers=h"), [["a.b.c", 20, "twice"], ["b", 20, "once"]]),
    ("several lines", ini(f="format=%(levelname)s %(message)s"), [["a", 20, "x\ny"]]),
    ("names of levels", ini(f="format=%(levelname)s %(levelno)s"), [["a", n, ""] for n in (10, 20, 30, 40)]),
    ("a format over lines", ini(f="format=%(levelname)s\n  %(message)s"), ONE),
    ("no format", ini(f="datefmt=%H"), ONE),
    ("dates", ini(f="format=%(asctime)s %(message)s\ndatefmt=%Y"), ONE),
    ("dates of Apache", ini(f="format=%(asctime)s\ndatefmt=%d/%b/%Y:%H:%M:%S %z %Z %j %% %a %A %B %p %I %y %U %w"),
     ONE),
    ("an unknown style", ini(f="format=%(message)s\nstyle=x"), ONE),
    ("braces without a field", ini(f="format=%(message)s\nstyle={"), ONE),
    ("dollars", ini(f="format=$asctime ${levelname} $$ $message\nstyle=$"), ONE),
    ("dollars without a field", ini(f="format=message\nstyle=$"), ONE),
    ("the class of formatters", ini(f="format=%(message)s\nclass=logging.Formatter"), ONE),
    ("another class of formatters", ini(f="format=%(message)s\nclass=nope.Formatter"), ONE),
    ("a percent sign in arguments", ini(h='class=FileHandler\nargs=("nope/%Y.log","a")'), ONE),
]
for pattern in [
    "%(asctime)s - %(levelname)s - %(name)s - %(message)s", "[%(asctime)s] %(message)s", "%(levelname)-8s|%(name)s|",
    "%(levelname).3s", "%(name)30s|", "%(name)-5s|", "%(lineno)05d %(levelno)d", "%(process)d", "%(msecs)03d %(created)f",
    "%(nope)s", "%(message)", "100%% %(message)s", "%(message)q", "plain", "%(levelname)s %(message)s %",
    "%(thread)s %(threadName)s %(processName)s", "%(message)r", "%(levelno)x", "%(msecs)s", "%(created)s",
    "%(levelname)*s", "%(message)5.2s|", "%(process)+d", "%(process)-10d|", "%(process)010d|", "%(msecs)d",
    "%(msecs).1f|%(msecs)8.2f|%(msecs)08.2f", "%(message)d", "%(exc_info)s %(args)s %(msg)s", "%(asctime)-30s|",
    "%(created)x", "%(exc_info)r %(args)r", "%(lineno)-5.3d|", "%(name)s %(lineno).d",
    "%(filename)s %(module)s %(pathname)s:%(lineno)s", "%(levelno)6.4d|", "% (levelno)d", "%(levelno) d|",
]:
    CASES.append(("percent: " + pattern, ini(f="format=" + pattern), ONE))
for pattern in [
    "{asctime} {levelname:<8}|{message}", "{levelname:>8}|", "{levelname:^10}|", "{levelname!r}", "{message!r}",
    "{levelno:04d}", "{levelno:5}|", "{levelno:<5}|", "{created:.2f}", "{levelname:*<9}", "{msecs:03.0f}",
    "{{x}} {message}", "{message:.2}", "{process:d}", "{process:+d}", "{levelno:x}", "{message:5d}", "{message}}", "{}",
    "{nope}", "{msecs}", "{created}", "{message:=9}", "{levelname:10.3}|", "{msecs:d}", "{message:s}",
    "{levelno:< 5}|", "{args!r} {exc_info}", "{args:5}", "{process:^08d}|", "{process:> 08d}|", "{module:08}|",
    "{levelno!s:>12}|", "{levelno!r:<5d}|", "{created: 14}|", "{thread:<+030X}|",
]:
    CASES.append(("braces: " + pattern, ini(f="style={\nformat=" + pattern), ONE))


def record(*args, **kwargs):
    record = logging.LogRecord(*args, **kwargs)
    record.created, record.msecs, record.relativeCreated = 1795347050.302, 302.0, 221.5
    record.process, record.thread, record.threadName = 4711, 77, "worker"
    record.pathname, record.filename, record.module = "crates/mapproxy-core/src/app.rs", "app.rs", "app"
    record.lineno = 14
    return record


def ask(text, records):
    path = os.path.join(tempfile.mkdtemp(), "log.ini")
    with open(path, "w") as file:
        file.write(text)
    logging.root.manager.loggerDict.clear()
    logging.root.handlers[:] = []
    logging.root.setLevel(logging.WARNING)
    logging.setLogRecordFactory(record)
    real = sys.stdout, sys.stderr
    out, err = sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    try:
        logging.config.fileConfig(path, {"here": "/etc/mapproxy"})
        for name, level, message in records:
            logging.getLogger(name).log(level, "%s", message) if "%" in message else logging.getLogger(name).log(level, message)
    except Exception:
        return None
    finally:
        sys.stdout, sys.stderr = real
    # Formats that fail when a line is written say so on standard error.
    return None if "--- Logging error ---" in err.getvalue() else out.getvalue()


if __name__ == "__main__":
    cases = [{"name": name, "ini": text, "records": records, "written": ask(text, records)}
             for name, text, records in CASES]
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "expected.json"), "w") as file:
        json.dump(cases, file, indent=1)
        file.write("\n")
