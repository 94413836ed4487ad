//! What the ledger's tests share: a ledger in memory, and a slug record.

use std::path::Path;

use rusqlite::Connection;

use super::{App, Ledger};
use crate::digest::Digest;
use crate::slug::{SlugRecord, Source, UsedBuildpack};

pub(crate) fn ledger() -> Ledger {
    Ledger::over(Connection::open_in_memory().unwrap(), Path::new("memory")).unwrap()
}

pub(crate) fn app(ledger: &Ledger, name: &str) -> App {
    ledger.create_app(&name.parse().unwrap(), "admin").unwrap()
}

/// The record of a slug whose bytes are `content`.
pub(crate) fn record(content: &str) -> SlugRecord {
    SlugRecord {
        digest: Digest::of(content.as_bytes()),
        diff_id: Digest::of(b"tar"),
        size_bytes: content.len() as u64,
        format: 0,
        manifest: Digest::of(format!("manifest of {content}").as_bytes()),
        source: Source {
            commit: Some("4b825dc642cb6eb9a060e54bf8d69288fbee4904".into()),
            ..Source::default()
        },
        buildpacks: vec![UsedBuildpack {
            name: "lang".into(),
            label: "Lang".into(),
            digest: Some(Digest::of(b"buildpack")),
            pinned: None,
            lock: None,
        }],
        runtimes: [("lang".into(), "1.2.3".into())].into(),
        runtime_trees: Vec::new(),
        packages: Vec::new(),
        stack: "debian-12".into(),
        stack_digest: None,
        architecture: "x86_64".into(),
        process_types: [("web".into(), "serve".into())].into(),
        layout: crate::app::Layout::default(),
    }
}
