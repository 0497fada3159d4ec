//! MultiMapProxy: every configuration of a directory as an application of its own, `NAME.yaml` under `/NAME/`.
//!
//! A project is built when first asked for, and anew when one of its files changes. Building holds up nobody but those
//! who want this very project for the first time; and of those only so many wait, the others are asked to come back.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use http::StatusCode;
use http::header::RETRY_AFTER;

use super::Reload;
use super::reload::{Stamps, stamps};
use crate::response::{plain, respond};
use crate::services::markup::escape;
use crate::{App, AppBuilder, Application, Incoming, ProxyRules, Request, Response};

/// The name of the project that a request is for, as a request extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectName(pub Arc<str>);

/// All projects of a directory.
pub struct Multi {
    directory: PathBuf,
    allow_listing: bool,
    max_projects: usize,
    rules: ProxyRules,
    configure: Configure,
    projects: Mutex<HashMap<Arc<str>, Arc<Project>>>,
    /// Counts requests: what was used longest ago is known by it.
    clock: AtomicU64,
}

type Configure = Box<dyn Fn(AppBuilder) -> AppBuilder + Send + Sync>;

/// Settings of [`Multi`].
pub struct MultiBuilder {
    multi: Multi,
}

/// Why a directory cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("{} is no directory with configurations: {cause}", directory.display())]
pub struct MultiError {
    directory: PathBuf,
    cause: std::io::Error,
}

/// One configuration.
struct Project {
    name: Arc<str>,
    file: PathBuf,
    app: ArcSwapOption<Reload<App>>,
    /// Held while the application is built for the first time; what the last try has read if it failed.
    loading: Mutex<Option<Stamps>>,
    waiting: AtomicUsize,
    used: AtomicU64,
}

/// Requests that may wait for one project to be built; each of them holds a thread.
const MAX_WAITING: usize = 32;

const EXTENSION: &str = "yaml";

impl Multi {
    /// Serves the configurations in `directory`.
    pub fn builder(directory: impl AsRef<Path>) -> MultiBuilder {
        MultiBuilder {
            multi: Multi {
                directory: directory.as_ref().to_owned(),
                allow_listing: false,
                max_projects: 100,
                rules: ProxyRules::default(),
                configure: Box::new(|builder| builder),
                projects: Mutex::default(),
                clock: AtomicU64::new(0),
            },
        }
    }

    /// The names of all projects, sorted; read from the directory each time.
    pub fn names(&self) -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let path = PathBuf::from(entry?.file_name());
            if path.extension().is_some_and(|extension| extension == EXTENSION)
                && let Some(name) = path.file_stem().and_then(|name| name.to_str())
                && is_name(name)
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Builds every project that is not built yet, up to the number that is kept; tells the names of those that fail.
    pub fn load_all(&self) -> std::io::Result<Vec<String>> {
        let names = self.names()?;
        let broken = |name: &String| self.project(name).is_none_or(|project| self.load(&project).is_err());
        Ok(names.into_iter().take(self.max_projects).filter(broken).collect())
    }

    fn projects(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Project>>> {
        // Nothing in it is ever half done.
        self.projects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The project called `name`; there may be no application of it yet.
    fn project(&self, name: &str) -> Option<Arc<Project>> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        if let Some(project) = self.projects().get(name) {
            project.used.store(now, Ordering::Relaxed);
            return Some(Arc::clone(project));
        }
        let file = self.directory.join(format!("{name}.{EXTENSION}"));
        if !is_name(name) || !file.is_file() {
            return None;
        }
        let mut projects = self.projects();
        let name: Arc<str> = Arc::from(name);
        let new = || {
            Arc::new(Project {
                name: Arc::clone(&name),
                file,
                app: ArcSwapOption::empty(),
                loading: Mutex::default(),
                waiting: AtomicUsize::new(0),
                used: AtomicU64::new(now),
            })
        };
        let project = Arc::clone(projects.entry(Arc::clone(&name)).or_insert_with(new));
        while projects.len() > self.max_projects {
            let oldest = projects.values().min_by_key(|project| project.used.load(Ordering::Relaxed));
            let Some(oldest) = oldest.map(|project| Arc::clone(&project.name)) else { break };
            log::info!(target: "mapproxy.multiapp", "project {oldest} is let go: more than {} in use", self.max_projects);
            projects.remove(&oldest);
        }
        Some(project)
    }

    /// The application of a project: the one there is, or a new one, for which the calling thread may have to wait.
    fn load(&self, project: &Project) -> Result<Arc<Reload<App>>, Box<Response>> {
        if let Some(app) = project.app.load_full() {
            app.check_unless_busy();
            return Ok(app);
        }
        let _place = Place::take(project).ok_or_else(too_many_waiting)?;
        let mut failed = project.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(app) = project.app.load_full() {
            return Ok(app);
        }
        if failed.as_ref().is_some_and(|read| *read == stamps(read.keys().cloned())) {
            return Err(broken(&project.name));
        }
        log::info!(
            target: "mapproxy.multiapp",
            "initializing project app {} with {}",
            project.name,
            project.file.display()
        );
        let before = stamps([project.file.clone()]);
        let file = project.file.clone();
        // The closure is kept for later versions, so it cannot borrow us; what the program adds is the same each time.
        match Reload::of_builder((self.configure)(AppBuilder::from_file(file))) {
            Ok(app) => {
                let app = Arc::new(app);
                project.app.store(Some(Arc::clone(&app)));
                Ok(app)
            }
            Err(error) => {
                for line in error.reason.lines() {
                    log::error!(target: "mapproxy.multiapp", "{line}");
                }
                let mut read = stamps(error.files);
                read.extend(before);
                *failed = Some(read);
                Err(broken(&project.name))
            }
        }
    }

    /// Whose request this is; `Err` is the answer if it is nobody's.
    fn find(&self, incoming: &Incoming<'_>) -> Result<Arc<Project>, Box<Response>> {
        let name = incoming.first_segment();
        if name.is_empty() {
            return Err(Box::new(self.welcome(incoming)));
        }
        let not_found = || Box::new(plain(StatusCode::NOT_FOUND, "not found"));
        let project = self.project(name).ok_or_else(not_found)?;
        if !project.file.exists() {
            self.projects().remove(&project.name);
            return Err(not_found());
        }
        Ok(project)
    }

    fn welcome(&self, incoming: &Incoming<'_>) -> Response {
        let mut page = format!("<html><body><h1>Welcome to MapProxy {}</h1>", env!("CARGO_PKG_VERSION"));
        if self.allow_listing {
            let names = match self.names() {
                Ok(names) => names,
                Err(error) => {
                    log::error!(target: "mapproxy.multiapp", "cannot read {}: {error}", self.directory.display());
                    return plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error");
                }
            };
            page.push_str("<h2>available instances:</h2><ul>");
            let script = incoming.urls().script;
            for name in names {
                let url = format!("{script}/{}/", percent_encoding::utf8_percent_encode(&name, SEGMENT));
                page.push_str(&format!("<li><a href=\"{}\">{}</a></li>", escape(&url), escape(&name)));
            }
            page.push_str("</ul>");
        }
        page.push_str("</body></html>");
        respond(StatusCode::OK, "text/html; charset=utf-8", page)
    }
}

const SEGMENT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// Whether a file of this name can only be one of the directory's own.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0'])
}

fn broken(name: &str) -> Box<Response> {
    let text = format!("the project {name} cannot be loaded, the log says why");
    Box::new(plain(StatusCode::INTERNAL_SERVER_ERROR, text))
}

fn too_many_waiting() -> Box<Response> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "this project is being loaded");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
    Box::new(response)
}

/// A place among those who wait for a project.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(project: &'a Project) -> Option<Place<'a>> {
        let place = Place(&project.waiting);
        (project.waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl MultiBuilder {
    /// Whether `/` names the projects; not by default.
    #[must_use]
    pub fn allow_listing(mut self, allow: bool) -> MultiBuilder {
        self.multi.allow_listing = allow;
        self
    }

    /// How many projects are kept ready; 100. What was not asked for longest goes first.
    #[must_use]
    pub fn max_projects(mut self, count: usize) -> MultiBuilder {
        self.multi.max_projects = count.max(1);
        self
    }

    /// Whose headers are believed; everybody's without this.
    #[must_use]
    pub fn proxies(mut self, rules: ProxyRules) -> MultiBuilder {
        self.multi.rules = rules;
        self
    }

    /// What each project gets beside its configuration.
    #[must_use]
    pub fn configure(mut self, add: impl Fn(AppBuilder) -> AppBuilder + Send + Sync + 'static) -> MultiBuilder {
        self.multi.configure = Box::new(add);
        self
    }

    /// The application; no project is loaded yet.
    pub fn build(self) -> Result<Multi, MultiError> {
        match std::fs::read_dir(&self.multi.directory) {
            Ok(_) => Ok(self.multi),
            Err(cause) => Err(MultiError { directory: self.multi.directory, cause }),
        }
    }
}

/// Serves every configuration of a directory, without a list of them: see [`Multi`].
pub fn make_multi_app(directory: impl AsRef<Path>) -> Result<Multi, MultiError> {
    Multi::builder(directory).build()
}

#[deny(clippy::missing_trait_methods)]
impl Application for Multi {
    fn call(&self, request: Request) -> Response {
        let incoming = Incoming::with_rules(&request, &self.rules);
        let answer = self.find(&incoming).and_then(|project| {
            let app = self.load(&project)?;
            let not_found = || Box::new(plain(StatusCode::NOT_FOUND, "not found"));
            let mounted = mounted(&incoming, &project).ok_or_else(not_found)?;
            Ok(app.call(mounted))
        });
        answer.unwrap_or_else(|response| *response)
    }

    fn call_now(&self, request: &Request) -> Option<Response> {
        let incoming = Incoming::with_rules(request, &self.rules);
        let project = Arc::clone(self.projects().get(incoming.first_segment())?);
        let app = project.app.load_full().filter(|app| !app.has_changed())?;
        project.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        app.call_now(&mounted(&incoming, &project)?)
    }
}

fn mounted(incoming: &Incoming<'_>, project: &Project) -> Option<Request> {
    let mut request = incoming.mounted(&format!("/{}", project.name))?;
    request.extensions_mut().insert(ProjectName(Arc::clone(&project.name)));
    Some(request)
}

impl fmt::Debug for Multi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multi").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl fmt::Debug for MultiBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.multi.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    const DEMO: &str = "services: {demo: }\nlayers: [{name: a, title: A, sources: [d]}]\nsources: {d: {type: debug}}\n";
    const TMS: &str = "services: {tms: }\nlayers: [{name: a, title: A, sources: [c]}]\n\
                       caches: {c: {grids: [GLOBAL_WEBMERCATOR], sources: []}}\n";

    fn projects(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    fn get(app: &Multi, uri: &str) -> (u16, String) {
        let request = http::Request::get(uri).header("host", "a.b").header("x-script-name", "/maps");
        let response = app.call(request.body(Bytes::new()).unwrap());
        (response.status().as_u16(), String::from_utf8_lossy(response.body().as_bytes()).into_owned())
    }

    #[test]
    fn each_project_stands_under_its_name() {
        let dir = projects(&[("b.yaml", TMS), ("a b.yaml", DEMO), ("notes.txt", ""), (".hidden.yaml", DEMO)]);
        let app = Multi::builder(dir.path()).allow_listing(true).build().unwrap();
        let (status, list) = get(&app, "/");
        assert_eq!(status, 200);
        let links = "<ul><li><a href=\"http://a.b/maps/a%20b/\">a b</a></li>\
                     <li><a href=\"http://a.b/maps/b/\">b</a></li></ul>";
        assert!(list.contains(links), "{list}");
        assert!(get(&app, "/a%20b").1.contains("http://a.b/maps/a%20b/demo/"));
        assert!(get(&app, "/b/tms/1.0.0").1.contains("href=\"http://a.b/maps/b/tms/1.0.0/"));
        assert_eq!(app.load_all().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn the_list_is_for_those_who_are_allowed_to_see_it() {
        let dir = projects(&[("secret.yaml", DEMO)]);
        let (status, page) = get(&make_multi_app(dir.path()).unwrap(), "/");
        assert_eq!(status, 200);
        assert!(page.contains("Welcome to MapProxy") && !page.contains("secret"), "{page}");
    }

    #[test]
    fn names_that_lead_elsewhere_are_not_found() {
        let outer = projects(&[("outside.yaml", DEMO)]);
        let inner = outer.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join(".yaml"), DEMO).unwrap();
        let app = make_multi_app(&inner).unwrap();
        for uri in
            ["/unknown", "/..%2Foutside/", "/../outside", "/%2e%2e/outside", "/.", "/..", "/a%00", "/c:x", "/\\x"]
        {
            let uri = uri.replace('\\', "%5C");
            assert_eq!(get(&app, &uri), (404, "not found".to_owned()), "{uri}");
        }
        assert!(make_multi_app(outer.path().join("outside.yaml")).is_err());
    }

    #[test]
    fn a_project_follows_its_files_and_goes_when_they_go() {
        let dir = projects(&[("a.yaml", "base: [base.yaml]\n"), ("base.yaml", DEMO)]);
        let app = make_multi_app(dir.path()).unwrap();
        assert!(get(&app, "/a/").1.contains("demo"));
        fs::write(dir.path().join("base.yaml"), TMS).unwrap();
        assert!(!get(&app, "/a/").1.contains("demo"), "the change of a base file was not noticed");
        fs::write(dir.path().join("a.yaml"), "broken: [").unwrap();
        assert_eq!(get(&app, "/a/").0, 200, "the old one is kept");
        fs::remove_file(dir.path().join("a.yaml")).unwrap();
        assert_eq!(get(&app, "/a/").0, 404);
    }

    #[test]
    fn a_broken_project_is_tried_again_only_when_it_was_changed() {
        let dir = projects(&[("a.yaml", "layers: 3")]);
        let app = make_multi_app(dir.path()).unwrap();
        assert_eq!(get(&app, "/a/").0, 500);
        let project = app.project("a").unwrap();
        let read = project.loading.lock().unwrap().clone();
        assert!(read.is_some());
        assert_eq!(get(&app, "/a/").0, 500);
        fs::write(dir.path().join("a.yaml"), DEMO).unwrap();
        assert_eq!(get(&app, "/a/").0, 200);
        assert_eq!(app.load_all().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn only_so_many_projects_are_kept() {
        let dir = projects(&[("a.yaml", DEMO), ("b.yaml", DEMO), ("c.yaml", DEMO)]);
        let app = Multi::builder(dir.path()).max_projects(2).build().unwrap();
        for name in ["a", "b", "a", "c"] {
            assert_eq!(get(&app, &format!("/{name}/")).0, 200);
        }
        let mut kept: Vec<String> = app.projects().keys().map(ToString::to_string).collect();
        kept.sort();
        assert_eq!(kept, ["a", "c"]);
    }

    #[test]
    fn a_project_that_takes_long_holds_up_no_other_and_not_too_many_threads() {
        let dir = projects(&[("slow.yaml", DEMO), ("fast.yaml", DEMO)]);
        let app = make_multi_app(dir.path()).unwrap();
        let slow = app.project("slow").unwrap();
        // As if it were being built.
        let building = slow.loading.lock().unwrap();
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..MAX_WAITING).map(|_| scope.spawn(|| get(&app, "/slow/").0)).collect();
            while slow.waiting.load(Ordering::Relaxed) < MAX_WAITING {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(get(&app, "/slow/").0, 503);
            assert_eq!(get(&app, "/fast/").0, 200);
            drop(building);
            for waiting in waiting {
                assert_eq!(waiting.join().unwrap(), 200);
            }
        });
        assert_eq!(slow.waiting.load(Ordering::Relaxed), 0);
    }
}
