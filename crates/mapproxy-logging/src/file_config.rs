//! `log.ini`: the format of Python's `logging.config.fileConfig`.
//!
//! `[loggers]`, `[handlers]` and `[formatters]` name sections by `keys`; `[logger_root]` and `[logger_NAME]` say from
//! which level on which handlers get lines, `[handler_NAME]` where they go, `[formatter_NAME]` how they look. All that
//! has no meaning here is refused by name, rather than served with a log that is not what was asked for.

use std::path::PathBuf;

use crate::formatter::Formatter;
use crate::handler::{Address, Destination, Mode, facility, facility_of_name};
use crate::hierarchy::{Hierarchy, Logger};
use crate::ini::{Ini, IniError, Section, Value};
use crate::literal::{Literal, evaluate};

/// A configuration that has been read; nothing is opened yet.
#[derive(Clone, Debug)]
pub struct FileConfig {
    pub(crate) hierarchy: Hierarchy,
    pub(crate) handlers: Vec<Handler>,
    file: PathBuf,
}

/// A handler as configured.
#[derive(Clone, Debug)]
pub(crate) struct Handler {
    pub(crate) destination: Destination,
    pub(crate) level: u8,
    pub(crate) formatter: Formatter,
    /// Where it is configured.
    pub(crate) line: usize,
}

const LEVELS: &[(&str, u8)] = &[
    ("NOTSET", 0),
    ("DEBUG", 10),
    ("INFO", 20),
    ("WARN", 30),
    ("WARNING", 30),
    ("ERROR", 40),
    ("FATAL", 50),
    ("CRITICAL", 50),
];

/// Classes of handlers, as they may be written.
const HANDLERS: &[(&str, Class)] = &[
    ("StreamHandler", Class::Stream),
    ("FileHandler", Class::File),
    ("NullHandler", Class::Null),
    ("handlers.WatchedFileHandler", Class::WatchedFile),
    ("handlers.RotatingFileHandler", Class::RotatingFile),
    ("handlers.TimedRotatingFileHandler", Class::TimedRotatingFile),
    ("handlers.SysLogHandler", Class::Syslog),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Stream,
    File,
    Null,
    WatchedFile,
    RotatingFile,
    TimedRotatingFile,
    Syslog,
}

impl FileConfig {
    /// Whether the file says anything of logging.
    pub fn is_in(ini: &Ini) -> bool {
        ini.section("loggers").is_some()
    }

    /// Reads the logging sections of a file; others are left alone.
    pub fn read(ini: &Ini) -> Result<FileConfig, IniError> {
        let reader = Reader { ini };
        let formatters = reader.formatters()?;
        let (handler_names, handlers) = reader.handlers(&formatters)?;
        let hierarchy = reader.loggers(&handler_names)?;
        Ok(FileConfig { hierarchy, handlers, file: ini.file().to_owned() })
    }

    pub(crate) fn error(&self, line: usize, message: String) -> IniError {
        IniError { file: self.file.clone(), line, message }
    }
}

struct Reader<'a> {
    ini: &'a Ini,
}

impl Reader<'_> {
    fn section(&self, name: &str, named_on: usize) -> Result<&Section, IniError> {
        self.ini.section(name).ok_or_else(|| self.ini.error(named_on, format!("there is no section [{name}]")))
    }

    /// The names that `[kind]` lists, with the line that does.
    fn keys(&self, kind: &str) -> Result<(Vec<String>, usize), IniError> {
        let section = self.section(kind, 0)?;
        self.only_known(section, &["keys"])?;
        let keys = self.ini.get(section, "keys")?;
        let keys = keys.ok_or_else(|| self.ini.error(section.line, format!("[{kind}] needs keys = NAME, NAME…")))?;
        let names = list(&keys.text);
        Ok((names, keys.line))
    }

    fn only_known(&self, section: &Section, known: &[&str]) -> Result<(), IniError> {
        match section.entries().iter().find(|entry| !known.contains(&entry.key.as_str())) {
            None => Ok(()),
            Some(entry) => {
                let message = format!("{} means nothing in [{}]; {} do", entry.key, section.name, known.join(", "));
                Err(self.ini.error(entry.line, message))
            }
        }
    }

    fn formatters(&self) -> Result<Vec<(String, Formatter)>, IniError> {
        let (names, named_on) = self.keys("formatters")?;
        let formatter = |name: String| {
            let section = self.section(&format!("formatter_{name}"), named_on)?;
            let formatter = self.formatter(section)?;
            Ok((name, formatter))
        };
        names.into_iter().map(formatter).collect()
    }

    fn formatter(&self, section: &Section) -> Result<Formatter, IniError> {
        self.only_known(section, &["format", "datefmt", "style", "class"])?;
        let class = self.ini.get(section, "class")?.unwrap_or(Value { text: String::new(), line: section.line });
        match class.text.as_str() {
            "" | "logging.Formatter" | "Formatter" => {}
            "mapproxy.JsonFormatter" => {
                self.only_known(section, &["class"])?;
                return Ok(Formatter::Json);
            }
            other => {
                let message = format!(
                    "the formatter {other} is not there; logging.Formatter is, and mapproxy.JsonFormatter for JSON lines"
                );
                return Err(self.ini.error(class.line, message));
            }
        }
        // Their percent signs are the formatter's, so that nothing is replaced in them.
        let raw = |key| self.ini.entry(section, key);
        let dates = raw("datefmt").map(|entry| entry.raw.clone()).filter(|dates| !dates.is_empty());
        let style = raw("style").map_or("%", |entry| entry.raw.as_str());
        let Some(pattern) = raw("format") else {
            return Ok(Formatter::message_only());
        };
        Formatter::new(&pattern.raw, dates, style).map_err(|message| self.ini.error(pattern.line, message))
    }

    fn handlers(&self, formatters: &[(String, Formatter)]) -> Result<(Vec<String>, Vec<Handler>), IniError> {
        let (names, named_on) = self.keys("handlers")?;
        let handler = |name: &String| {
            let section = self.section(&format!("handler_{name}"), named_on)?;
            self.handler(section, formatters)
        };
        let handlers = names.iter().map(handler).collect::<Result<_, _>>()?;
        Ok((names, handlers))
    }

    fn handler(&self, section: &Section, formatters: &[(String, Formatter)]) -> Result<Handler, IniError> {
        self.only_known(section, &["class", "args", "kwargs", "level", "formatter"])?;
        let class = self.ini.get(section, "class")?;
        let class = class.ok_or_else(|| self.ini.error(section.line, format!("[{}] needs class =", section.name)))?;
        let written = class.text.trim();
        let short = written.strip_prefix("logging.").unwrap_or(written);
        let is_of = |name: &str| name == short || name.strip_prefix("handlers.") == Some(short);
        let Some((_, class)) = HANDLERS.iter().find(|(name, _)| is_of(name)) else {
            let known: Vec<&str> = HANDLERS.iter().map(|(name, _)| *name).collect();
            let message = format!("the handler {written} is not there; {} are", known.join(", "));
            return Err(self.ini.error(class.line, message));
        };
        let destination = self.destination(section, *class, short)?;
        let formatter = match self.ini.get(section, "formatter")?.filter(|name| !name.text.is_empty()) {
            None => Formatter::message_only(),
            Some(name) => {
                let found = formatters.iter().find(|(known, _)| *known == name.text);
                let message = || format!("there is no formatter {:?} among the keys of [formatters]", name.text);
                found.map(|(_, formatter)| formatter.clone()).ok_or_else(|| self.ini.error(name.line, message()))?
            }
        };
        let level = self.level(section)?.unwrap_or(0);
        Ok(Handler { destination, level, formatter, line: section.line })
    }

    fn destination(&self, section: &Section, class: Class, name: &str) -> Result<Destination, IniError> {
        let evaluated = |key: &str| {
            let value = self.ini.get(section, key)?;
            let value = value.map(|value| {
                let literal = evaluate(&value.text);
                literal.map_err(|message| self.ini.error(value.line, format!("{key}: {message}")))
            });
            value.transpose()
        };
        let line = self.ini.entry(section, "args").map_or(section.line, |entry| entry.line);
        let error = |message: String| self.ini.error(line, message);
        let positional = match evaluated("args")? {
            None => Vec::new(),
            Some(Literal::List(items)) => items,
            Some(single) => {
                return Err(error(format!("args must be a tuple; write ({single},) with a comma for a single value")));
            }
        };
        let named = match evaluated("kwargs")? {
            None => Vec::new(),
            Some(Literal::Dict(pairs)) => pairs,
            Some(other) => return Err(error(format!("kwargs must be a dictionary, not {other}"))),
        };
        let parameters = class.parameters();
        let mut arguments = Arguments { values: vec![Literal::None; parameters.len()], names: parameters };
        if positional.len() > parameters.len() {
            return Err(error(format!("{name} takes {} values: {}", parameters.len(), parameters.join(", "))));
        }
        arguments.values[..positional.len()].clone_from_slice(&positional);
        for (key, value) in named {
            let Literal::Str(key) = key else { return Err(error("the keys of kwargs are strings".to_owned())) };
            let known = || parameters.iter().position(|parameter| *parameter == key);
            match known() {
                None => return Err(error(format!("{name} takes no {key:?}; it takes {}", parameters.join(", ")))),
                Some(index) if index < positional.len() => {
                    return Err(error(format!("{key} is given twice, in args and in kwargs")));
                }
                Some(index) => arguments.values[index] = value,
            }
        }
        class.destination(&arguments).map_err(error)
    }

    fn loggers(&self, handlers: &[String]) -> Result<Hierarchy, IniError> {
        let (names, named_on) = self.keys("loggers")?;
        if !names.iter().any(|name| name == "root") {
            return Err(self.ini.error(named_on, "root must be among the keys of [loggers]"));
        }
        let mut loggers = Vec::new();
        for name in &names {
            let section = self.section(&format!("logger_{name}"), named_on)?;
            let logger = self.logger(section, name == "root", handlers)?;
            // A name that is listed twice, or a logger with two sections: the last one says how it is.
            loggers.retain(|other: &Logger| other.name != logger.name);
            loggers.push(logger);
        }
        Ok(Hierarchy::new(loggers))
    }

    fn logger(&self, section: &Section, root: bool, handlers: &[String]) -> Result<Logger, IniError> {
        // Python takes `qualname` and `propagate` for the root, to no effect.
        self.only_known(section, &["level", "handlers", "propagate", "qualname"])?;
        let missing = |key: &str| self.ini.error(section.line, format!("[{}] needs {key} =", section.name));
        let name = match self.ini.get(section, "qualname")? {
            _ if root => String::new(),
            // Python's own name of it.
            Some(name) if name.text == "root" => String::new(),
            Some(name) => name.text,
            None => return Err(missing("qualname")),
        };
        let listed = self.ini.get(section, "handlers")?.ok_or_else(|| missing("handlers"))?;
        let mut chosen = Vec::new();
        for name in list(&listed.text) {
            let index = handlers.iter().position(|handler| *handler == name).ok_or_else(|| {
                self.ini.error(listed.line, format!("there is no handler {name:?} among the keys of [handlers]"))
            })?;
            // Twice the same handler writes a line once.
            if !chosen.contains(&index) {
                chosen.push(index);
            }
        }
        let propagate = match self.ini.get(section, "propagate")? {
            None => true,
            Some(value) => match value.text.parse::<i64>() {
                Ok(number) => number != 0,
                Err(_) => return Err(self.ini.error(value.line, "propagate must be 0 or 1")),
            },
        };
        // The root says WARNING where nothing is said.
        let level = self.level(section)?.unwrap_or(if root { 30 } else { 0 });
        Ok(Logger { name, level, handlers: chosen, propagate })
    }

    fn level(&self, section: &Section) -> Result<Option<u8>, IniError> {
        let Some(value) = self.ini.get(section, "level")?.filter(|value| !value.text.is_empty()) else {
            return Ok(None);
        };
        let found = LEVELS.iter().find(|(name, _)| *name == value.text);
        found.map(|(_, number)| Some(*number)).ok_or_else(|| {
            let known: Vec<&str> = LEVELS.iter().map(|(name, _)| *name).collect();
            self.ini.error(value.line, format!("level {:?} is not known; {} are", value.text, known.join(", ")))
        })
    }
}

/// Names with commas between them.
fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// What a handler is given; `None` where nothing is.
struct Arguments {
    names: &'static [&'static str],
    values: Vec<Literal>,
}

impl Arguments {
    fn get(&self, name: &str) -> &Literal {
        let index = self.names.iter().position(|known| *known == name);
        index.map_or(&Literal::None, |index| &self.values[index])
    }

    fn number<T: TryFrom<i64>>(&self, name: &str, default: T) -> Result<T, String> {
        match self.get(name) {
            Literal::None => Ok(default),
            Literal::Int(number) => T::try_from(*number).map_err(|_| format!("{name} cannot be {number}")),
            other => Err(format!("{name} must be a whole number, not {other}")),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        match self.get(name) {
            Literal::None => Ok(false),
            Literal::Bool(flag) => Ok(*flag),
            Literal::Int(number) => Ok(*number != 0),
            other => Err(format!("{name} must be True or False, not {other}")),
        }
    }

    fn path(&self) -> Result<PathBuf, String> {
        match self.get("filename") {
            Literal::Str(path) if !path.is_empty() => Ok(PathBuf::from(path)),
            Literal::None => Err("the name of the file is missing: args = ('NAME', 'a')".to_owned()),
            other => Err(format!("the name of the file must be a string, not {other}")),
        }
    }

    fn mode(&self) -> Result<Mode, String> {
        match self.get("mode") {
            Literal::None => Ok(Mode::Append),
            Literal::Str(mode) => match mode.trim_end_matches('t') {
                "a" | "a+" => Ok(Mode::Append),
                "w" | "w+" => Ok(Mode::Truncate),
                _ => Err(format!("mode {mode:?} is not known; 'a' and 'w' are")),
            },
            other => Err(format!("mode must be 'a' or 'w', not {other}")),
        }
    }

    /// Lines are written in UTF-8; what is asked for otherwise is refused.
    fn check_encoding(&self) -> Result<(), String> {
        match self.get("encoding") {
            Literal::None => {}
            Literal::Str(name) => {
                let folded = name.to_ascii_lowercase().replace(['_', '-'], "");
                if !["utf8", "ascii", "usascii", "locale"].contains(&folded.as_str()) {
                    return Err(format!("encoding {name:?} is not there; lines are written in UTF-8"));
                }
            }
            other => return Err(format!("encoding must be a string, not {other}")),
        }
        match self.get("errors") {
            // What cannot be encoded: there is nothing of that kind in UTF-8.
            Literal::None | Literal::Str(_) => Ok(()),
            other => Err(format!("errors must be a string, not {other}")),
        }
    }
}

impl Class {
    /// What it takes, in order.
    fn parameters(self) -> &'static [&'static str] {
        match self {
            Class::Stream => &["stream"],
            Class::Null => &[],
            Class::File | Class::WatchedFile => &["filename", "mode", "encoding", "delay", "errors"],
            Class::RotatingFile => &["filename", "mode", "maxBytes", "backupCount", "encoding", "delay", "errors"],
            Class::TimedRotatingFile => {
                &["filename", "when", "interval", "backupCount", "encoding", "delay", "utc", "atTime", "errors"]
            }
            Class::Syslog => &["address", "facility", "socktype"],
        }
    }

    fn destination(self, arguments: &Arguments) -> Result<Destination, String> {
        if !matches!(self, Class::Stream | Class::Null | Class::Syslog) {
            arguments.check_encoding()?;
        }
        Ok(match self {
            Class::Null => Destination::Null,
            Class::Stream => match arguments.get("stream") {
                Literal::None => Destination::Stderr,
                Literal::Name(name) if name == "sys.stdout" => Destination::Stdout,
                Literal::Name(name) if name == "sys.stderr" => Destination::Stderr,
                other => return Err(format!("the stream must be sys.stdout or sys.stderr, not {other}")),
            },
            Class::File | Class::WatchedFile => Destination::File {
                path: arguments.path()?,
                mode: arguments.mode()?,
                delay: arguments.flag("delay")?,
                watched: self == Class::WatchedFile,
            },
            Class::RotatingFile => Destination::Rotating {
                path: arguments.path()?,
                mode: arguments.mode()?,
                delay: arguments.flag("delay")?,
                max_bytes: arguments.number("maxBytes", 0)?,
                backups: arguments.number("backupCount", 0)?,
            },
            Class::TimedRotatingFile => {
                if *arguments.get("atTime") != Literal::None {
                    return Err("atTime is not supported".to_owned());
                }
                let when = match arguments.get("when") {
                    Literal::None => "h",
                    Literal::Str(when) => when,
                    other => return Err(format!("when must be a string, not {other}")),
                };
                let interval = arguments.number("interval", 1)?;
                if interval == 0 {
                    return Err("interval cannot be 0".to_owned());
                }
                Destination::Timed {
                    path: arguments.path()?,
                    delay: arguments.flag("delay")?,
                    when: when.parse()?,
                    interval,
                    backups: arguments.number("backupCount", 0)?,
                    utc: arguments.flag("utc")?,
                }
            }
            Class::Syslog => syslog(arguments)?,
        })
    }
}

fn syslog(arguments: &Arguments) -> Result<Destination, String> {
    const PORT: u16 = 514;
    let connected = match arguments.get("socktype") {
        Literal::None => false,
        Literal::Name(name) if name.ends_with("SOCK_DGRAM") => false,
        Literal::Name(name) if name.ends_with("SOCK_STREAM") => true,
        other => return Err(format!("socktype must be socket.SOCK_DGRAM or socket.SOCK_STREAM, not {other}")),
    };
    let remote = |host: String, port| if connected { Address::Tcp(host, port) } else { Address::Udp(host, port) };
    let address = match arguments.get("address") {
        Literal::None => remote("localhost".to_owned(), PORT),
        Literal::Str(path) => Address::Socket(PathBuf::from(path)),
        Literal::List(pair) => match pair.as_slice() {
            [Literal::Str(host), Literal::Int(port)] => {
                let port = u16::try_from(*port).map_err(|_| format!("{port} is no port"))?;
                remote(host.clone(), port)
            }
            [Literal::Str(host), Literal::Name(name)]
                if name.ends_with("SYSLOG_UDP_PORT") || name.ends_with("SYSLOG_TCP_PORT") =>
            {
                remote(host.clone(), PORT)
            }
            _ => return Err("the address must be '/dev/log' or ('HOST', PORT)".to_owned()),
        },
        other => return Err(format!("the address must be '/dev/log' or ('HOST', PORT), not {other}")),
    };
    let facility = match arguments.get("facility") {
        Literal::None => 1,
        Literal::Int(number @ 0..=23) => *number as u8,
        Literal::Str(name) => facility(name)?,
        Literal::Name(name) => facility_of_name(name.rsplit('.').next().unwrap_or(name))?,
        other => return Err(format!("there is no facility {other}")),
    };
    Ok(Destination::Syslog { address, facility })
}
