//! From the sections of a file, and of those it refers to, to a [`Deployment`].

use std::path::Path;
use std::rc::Rc;

use mapproxy_logging::ini::{Ini, Keys, Section};
use mapproxy_logging::{FileConfig, IniError};

use super::settings::{Place, Setting, Settings};
use super::{Cors, Deployment, Mount, Part, servers};
use crate::Failure;

/// Kinds of sections that make an application.
const APPLICATIONS: &[&str] = &["app", "application", "composite", "composit", "pipeline", "filter-app"];
const FILTERS: &[&str] = &["filter"];
const SERVERS: &[&str] = &["server"];

/// References from section to section, at most: more are a circle.
const MAX_DEPTH: usize = 32;

impl Deployment {
    /// Reads a file. `server` names one of its servers, which then must be there.
    pub(crate) fn read(path: &Path, app: &str, server: Option<&str>) -> Result<Deployment, Failure> {
        let deployment = Deployment::parse(Ini::read(path, Keys::AsWritten)?, app, server)?;
        let ini = Ini::read(path, Keys::Folded);
        // Keys that differ in case only are two for Paste, and one for the log.
        let logging = match ini {
            Ok(ini) if FileConfig::is_in(&ini) => Some(FileConfig::read(&ini)?),
            Err(error) if deployment.has_logging => return Err(error.into()),
            _ => None,
        };
        Ok(Deployment { logging, ..deployment.deployment })
    }

    fn parse(ini: Ini, app_name: &str, server: Option<&str>) -> Result<Parsed, IniError> {
        let has_logging = FileConfig::is_in(&ini);
        let file = ini.file().to_owned();
        let whole = Place { file: file.clone(), line: 0 };
        let ini = Rc::new(ini);
        let mut reader = Reader { files: vec![file.clone()], depth: 0 };
        let app = reader.named(&ini, APPLICATIONS, app_name, &whole)?;
        let mut app = reader.application(&ini, &app)?;
        let mut warnings = Vec::new();
        let section = match server {
            Some(name) => Some(reader.named(&ini, SERVERS, name, &whole)?),
            None => find(&ini, SERVERS, "main").map_err(|message| whole.error(message))?,
        };
        let mut options = crate::server_options::ServerOptions::default();
        if let Some(section) = section {
            let resolved = reader.resolve(&ini, &section, SERVERS)?;
            let server = servers::server(resolved.factory, resolved.settings, &mut warnings)?;
            options = server.options;
            if let Some((prefix, https)) = server.prefix {
                app = Part::Prefix { prefix, https, app: Box::new(app) };
            }
        }
        let deployment = Deployment {
            file,
            app_name: app_name.to_owned(),
            app,
            server: options,
            logging: None,
            warnings,
            files: reader.files,
        };
        Ok(Parsed { deployment, has_logging })
    }

    /// What the text of a file says, for tests.
    #[cfg(test)]
    pub(super) fn of_text(text: &str, path: &Path) -> Result<Deployment, IniError> {
        Ok(Deployment::parse(Ini::parse(text, path, Keys::AsWritten)?, "main", None)?.deployment)
    }
}

struct Parsed {
    deployment: Deployment,
    has_logging: bool,
}

/// What a section comes down to: the factory behind its `use`, and all settings on the way there.
struct Resolved {
    /// As in `egg:MapProxy#app`.
    factory: Setting,
    settings: Settings,
    /// Filters around it, by `filter-with`, the outermost last.
    around: Vec<Setting>,
    /// The file that names in the settings refer to.
    ini: Rc<Ini>,
}

struct Reader {
    files: Vec<std::path::PathBuf>,
    depth: usize,
}

impl Reader {
    fn named(&self, ini: &Rc<Ini>, kinds: &[&str], name: &str, place: &Place) -> Result<Section, IniError> {
        let section = find(ini, kinds, name).map_err(|message| place.error(message))?;
        section.ok_or_else(|| {
            let expected: Vec<String> = kinds.iter().map(|kind| format!("[{kind}:{name}]")).collect();
            place.error(format_args!("there is no {}", expected.join(" or ")))
        })
    }

    /// Counts references, so that circles end.
    fn deeper<T>(
        &mut self,
        place: &Place,
        read: impl FnOnce(&mut Reader) -> Result<T, IniError>,
    ) -> Result<T, IniError> {
        if self.depth >= MAX_DEPTH {
            return Err(place.error("sections refer to each other in a circle"));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn application(&mut self, ini: &Rc<Ini>, section: &Section) -> Result<Part, IniError> {
        let place = Place { file: ini.file().to_owned(), line: section.line };
        self.deeper(&place, |reader| match kind(section) {
            "pipeline" => reader.pipeline(ini, section),
            "filter-app" => reader.filter_app(ini, section),
            _ => reader.plain_application(ini, section),
        })
    }

    /// An application that is named: by its section, by `config:FILE#NAME`, or by its factory.
    fn reference(&mut self, ini: &Rc<Ini>, name: &str, place: &Place) -> Result<Part, IniError> {
        if is_factory(name) {
            let factory = Setting { key: "use".to_owned(), text: name.to_owned(), place: place.clone() };
            return self.made(ini, &factory, Settings::default());
        }
        let (ini, section) = self.find_reference(ini, name, APPLICATIONS, place)?;
        self.application(&ini, &section)
    }

    fn find_reference(
        &mut self,
        ini: &Rc<Ini>,
        name: &str,
        kinds: &[&str],
        place: &Place,
    ) -> Result<(Rc<Ini>, Section), IniError> {
        let Some(rest) = name.strip_prefix("config:") else {
            return Ok((Rc::clone(ini), self.named(ini, kinds, name, place)?));
        };
        let (file, name) = rest.split_once('#').unwrap_or((rest, "main"));
        let path = ini.file().parent().unwrap_or(Path::new("")).join(file);
        let mut other = Ini::read(&path, Keys::AsWritten).map_err(|error| match error.line {
            0 => place.error(error),
            _ => error,
        })?;
        for entry in ini.defaults() {
            other.inherit(entry);
        }
        if !self.files.contains(&path) {
            self.files.push(path);
        }
        let other = Rc::new(other);
        let section = self.named(&other, kinds, name, place)?;
        Ok((other, section))
    }

    fn pipeline(&mut self, ini: &Rc<Ini>, section: &Section) -> Result<Part, IniError> {
        let place = Place { file: ini.file().to_owned(), line: section.line };
        let mut settings = own_settings(ini, section)?;
        let around = settings.take("filter-with");
        let names = settings
            .take("pipeline")
            .ok_or_else(|| place.error(format_args!("[{}] needs pipeline = FILTER… APPLICATION", section.name)))?;
        settings.finish("a pipeline", &["pipeline", "filter-with"])?;
        let mut parts: Vec<&str> = names.text.split_whitespace().collect();
        let app = parts.pop().ok_or_else(|| names.place.error("pipeline needs at least an application"))?;
        let mut app = self.reference(ini, app, &names.place)?;
        for filter in parts.into_iter().rev() {
            app = self.filter(ini, filter, &names.place, app)?;
        }
        self.surround(ini, app, around)
    }

    fn filter_app(&mut self, ini: &Rc<Ini>, section: &Section) -> Result<Part, IniError> {
        let place = Place { file: ini.file().to_owned(), line: section.line };
        let mut resolved = self.resolve(ini, section, FILTERS)?;
        let next = resolved
            .settings
            .take("next")
            .ok_or_else(|| place.error(format_args!("[{}] needs next = APPLICATION", section.name)))?;
        let app = self.reference(ini, &next.text, &next.place)?;
        let app = filtered(&resolved.factory, resolved.settings, app)?;
        self.surround(&resolved.ini, app, resolved.around)
    }

    fn plain_application(&mut self, ini: &Rc<Ini>, section: &Section) -> Result<Part, IniError> {
        let mut settings = own_settings(ini, section)?;
        // Another section that is no plain application can be named, but has no settings to change.
        if let Some(used) = settings.clone().take("use").filter(|used| !is_factory(&used.text)) {
            let (other, target) = self.find_reference(ini, &used.text, APPLICATIONS, &used.place)?;
            if ["pipeline", "filter-app"].contains(&kind(&target)) {
                settings.take("use");
                let around = settings.take("filter-with");
                settings.finish(&format!("an application that is [{}]", target.name), &["use", "filter-with"])?;
                let app = self.application(&other, &target)?;
                return self.surround(ini, app, around);
            }
        }
        let resolved = self.resolve(ini, section, APPLICATIONS)?;
        let app = self.made(&resolved.ini, &resolved.factory, resolved.settings)?;
        self.surround(ini, app, resolved.around)
    }

    /// Puts the filters of `filter-with` around, the last outermost.
    fn surround(
        &mut self,
        ini: &Rc<Ini>,
        app: Part,
        around: impl IntoIterator<Item = Setting>,
    ) -> Result<Part, IniError> {
        let mut app = app;
        for filter in around {
            app = self.filter(ini, &filter.text, &filter.place, app)?;
        }
        Ok(app)
    }

    fn filter(&mut self, ini: &Rc<Ini>, name: &str, place: &Place, app: Part) -> Result<Part, IniError> {
        if is_factory(name) {
            let factory = Setting { key: "use".to_owned(), text: name.to_owned(), place: place.clone() };
            return filtered(&factory, Settings::default(), app);
        }
        let (ini, section) = self.find_reference(ini, name, FILTERS, place)?;
        let resolved = self.resolve(&ini, &section, FILTERS)?;
        let app = filtered(&resolved.factory, resolved.settings, app)?;
        self.deeper(place, |reader| reader.surround(&ini, app, resolved.around))
    }

    /// Follows `use` to a factory; what a section says goes over what the section that it uses says.
    fn resolve(&mut self, ini: &Rc<Ini>, section: &Section, kinds: &[&str]) -> Result<Resolved, IniError> {
        let place = Place { file: ini.file().to_owned(), line: section.line };
        let mut settings = own_settings(ini, section)?;
        let around = settings.take("filter-with");
        let python = settings
            .take("paste.app_factory")
            .or_else(|| settings.take("paste.composite_factory"))
            .or_else(|| settings.take("paste.filter_factory"))
            .or_else(|| settings.take("paste.filter_app_factory"))
            .or_else(|| settings.take("paste.server_factory"))
            .or_else(|| settings.take("paste.server_runner"));
        let Some(used) = settings.take("use").or(python) else {
            return Err(place.error(format_args!("[{}] needs use =", section.name)));
        };
        if used.key != "use" || is_factory(&used.text) {
            return Ok(Resolved { factory: used, settings, around: around.into_iter().collect(), ini: Rc::clone(ini) });
        }
        let (other, target) = self.find_reference(ini, &used.text, kinds, &used.place)?;
        let mut resolved = self.deeper(&used.place, |reader| reader.resolve(&other, &target, kinds))?;
        settings.take_all().into_iter().for_each(|setting| resolved.settings.put(setting));
        resolved.around.extend(around);
        Ok(resolved)
    }

    /// The application that a factory makes.
    fn made(&mut self, ini: &Rc<Ini>, factory: &Setting, mut settings: Settings) -> Result<Part, IniError> {
        let missing = |key: &str| factory.place.error(format_args!("{} needs {key} =", factory.text));
        match factory.text.to_ascii_lowercase().as_str() {
            "egg:mapproxy#app" | "egg:mapproxy" | "mapproxy#app" => {
                let path = settings.path("mapproxy_conf")?.ok_or_else(|| missing("mapproxy_conf"))?;
                settings.finish(&factory.text, &["mapproxy_conf"])?;
                Ok(Part::Configuration(path))
            }
            "egg:mapproxy#multiapp" | "mapproxy#multiapp" | "mapproxy.multiapp:app_factory" => {
                let directory = settings.path("config_dir")?.ok_or_else(|| missing("config_dir"))?;
                let allow_listing = settings.flag("allow_listing")?.unwrap_or(false);
                settings.finish(&factory.text, &["config_dir", "allow_listing"])?;
                Ok(Part::Directory { directory, allow_listing })
            }
            "egg:paste#urlmap" | "mapproxy#urlmap" => self.url_map(ini, factory, settings),
            _ => Err(factory.unknown(
                "application",
                &["egg:MapProxy#app", "egg:MapProxy#multiapp", "mapproxy#app", "mapproxy#multiapp", "egg:Paste#urlmap"],
            )),
        }
    }

    fn url_map(&mut self, ini: &Rc<Ini>, factory: &Setting, mut settings: Settings) -> Result<Part, IniError> {
        let not_found = settings.take("not_found_app");
        let mut mounts = Vec::new();
        for setting in settings.take_all() {
            let (host, path) = place_of(&setting.key).map_err(|message| setting.place.error(message))?;
            let app = self.reference(ini, &setting.text, &setting.place)?;
            mounts.push(Mount { host, path, app });
        }
        if let Some(other) = not_found {
            if mounts.iter().any(|mount| mount.host.is_none() && mount.path == "/") {
                return Err(other.place.error("not_found_app is never asked, since there is an application at /"));
            }
            let app = self.reference(ini, &other.text, &other.place)?;
            mounts.push(Mount { host: None, path: "/".to_owned(), app });
        }
        if mounts.is_empty() {
            return Err(factory.place.error("a URL map needs lines such as /maps = NAME"));
        }
        Ok(Part::UrlMap(mounts))
    }
}

/// `/maps`, or `domain maps.example.org /maps`.
fn place_of(key: &str) -> Result<(Option<String>, String), String> {
    let expected = || {
        format!(
            "{key:?} is no place of a URL map: expected /PATH, or domain HOST /PATH; hosts as in http://… \
                 cannot be written in an INI file"
        )
    };
    let path = |path: &str| match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    };
    let words: Vec<&str> = key.split_whitespace().collect();
    match words.as_slice() {
        [one] if one.starts_with('/') => Ok((None, path(one))),
        ["domain", host] if !host.starts_with('/') => Ok((Some((*host).to_owned()), "/".to_owned())),
        ["domain", host, one] if one.starts_with('/') => Ok((Some((*host).to_owned()), path(one))),
        ["domain", _, "port", ..] => Err("a port cannot be told apart here: leave it out".to_owned()),
        _ => Err(expected()),
    }
}

/// The filter that a factory makes, around `app`.
fn filtered(factory: &Setting, mut settings: Settings, app: Part) -> Result<Part, IniError> {
    let name = factory.text.as_str();
    let missing = |key: &str| factory.place.error(format_args!("{name} needs {key} ="));
    let app = Box::new(app);
    match name.to_ascii_lowercase().as_str() {
        of @ ("egg:pastedeploy#prefix" | "egg:paste#prefix" | "mapproxy#prefix") => {
            let prefix = settings.text("prefix").unwrap_or_default();
            let https = settings.parsed("scheme", |scheme| match scheme {
                "https" => Ok(true),
                "http" => Ok(false),
                _ => Err("expected http or https"),
            })?;
            if of != "mapproxy#prefix" {
                if let Some(port) = settings.take("force_port").filter(|port| !port.text.is_empty()) {
                    return Err(port.place.error("force_port is not there: give the server a public_url"));
                }
                let place = settings.clone().take("translate_forwarded_server").map(|setting| setting.place);
                if let (Some(false), Some(place)) = (settings.flag("translate_forwarded_server")?, place) {
                    return Err(
                        place.error("translate_forwarded_server = false is not there: give the server trusted_proxies")
                    );
                }
            }
            settings.finish(name, &["prefix", "scheme"])?;
            Ok(Part::Prefix { prefix, https, app })
        }
        "mapproxy#cors" => {
            let cors = Cors {
                origins: settings.words("allow_origin").unwrap_or_else(|| vec!["*".to_owned()]),
                expose: settings.words("expose_headers").unwrap_or_default(),
                max_age: settings.number("max_age")?,
                credentials: settings.flag("allow_credentials")?.unwrap_or(false),
            };
            settings.finish(name, &["allow_origin", "expose_headers", "max_age", "allow_credentials"])?;
            Ok(Part::Cors { cors, app })
        }
        "mapproxy#basic-auth" => {
            let htpasswd = settings.path("htpasswd")?.ok_or_else(|| missing("htpasswd"))?;
            let realm = settings.text("realm").unwrap_or_else(|| "MapProxy".to_owned());
            settings.finish(name, &["htpasswd", "realm"])?;
            Ok(Part::BasicAuth { realm, htpasswd, app })
        }
        _ => Err(factory
            .unknown("filter", &["egg:PasteDeploy#prefix", "mapproxy#prefix", "mapproxy#cors", "mapproxy#basic-auth"])),
    }
}

/// Rather than the name of a section.
fn is_factory(name: &str) -> bool {
    name.starts_with("egg:") || name.starts_with("call:") || name.to_ascii_lowercase().starts_with("mapproxy#")
}

fn kind(section: &Section) -> &str {
    section.name.split_once(':').map_or("", |(kind, _)| kind).trim()
}

/// The section of that name, of one of those kinds.
fn find(ini: &Ini, kinds: &[&str], name: &str) -> Result<Option<Section>, String> {
    let is_it = |section: &&Section| {
        let parts = section.name.split_once(':');
        parts.is_some_and(|(kind, of)| kinds.contains(&kind.trim()) && of.trim() == name)
    };
    let mut found = ini.sections().iter().filter(is_it);
    let first = found.next();
    match (first, found.next()) {
        (Some(first), Some(second)) => Err(format!(
            "{name} may be [{}] on line {} or [{}] on line {}",
            first.name, first.line, second.name, second.line
        )),
        (first, _) => Ok(first.cloned()),
    }
}

/// What the section says itself. `get X = Y` takes the value of `[DEFAULT]`; `set X = Y` is for Python's factories.
fn own_settings(ini: &Ini, section: &Section) -> Result<Settings, IniError> {
    let mut settings = Settings::default();
    for entry in section.entries() {
        let place = Place { file: ini.file().to_owned(), line: entry.line };
        let mut text = ini.value(section, entry)?.text;
        let mut key = entry.key.clone();
        if let Some(name) = key.strip_prefix("get ").map(str::trim) {
            let global = ini.defaults().find(|global| global.key == text);
            let global = global.ok_or_else(|| place.error(format_args!("there is no {text} in [DEFAULT]")))?;
            text = ini.value(section, global)?.text;
            key = name.to_owned();
        } else if key.starts_with("set ") {
            // Changes what Paste hands to a factory beside its settings; ours look at nothing but those.
            continue;
        }
        settings.put(Setting { key, text, place });
    }
    Ok(settings)
}
