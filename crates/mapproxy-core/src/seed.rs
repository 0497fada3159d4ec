//! Work on caches without serving them: the tiles of each, and the tasks of a `seed.yaml`.
//!
//! ```no_run
//! use std::path::Path;
//! use std::time::SystemTime;
//!
//! use mapproxy_core::AppBuilder;
//! use mapproxy_core::seed::Selected;
//!
//! let caches = AppBuilder::from_file("mapproxy.yaml").caches()?;
//! let tasks = caches.tasks(Path::new("seed.yaml"), &Selected::All, &Selected::Nothing, SystemTime::now())?;
//! println!("{} tasks", tasks.seeds.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use crate::build::seed::{Caches, Planned, Selected, Tasks, TasksError};
pub use mapproxy_seeding::{CleanupTask, Refresh, Remove, SeedTask};
