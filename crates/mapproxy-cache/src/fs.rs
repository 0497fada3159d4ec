//! Files: atomic writes, permissions of new files and directories.

/// `directory_permissions` and `file_permissions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Mode of new directories; `None`: by the umask.
    pub directory: Option<u32>,
    /// Mode of new files.
    pub file: Option<u32>,
}
