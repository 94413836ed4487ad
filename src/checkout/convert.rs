//! How a blob becomes a file: line ends, `ident` and encodings as the tree's own `.gitattributes`
//! say, and nothing that a user's configuration or a filter program would say.

use gix::attrs::Search;
use gix::attrs::search::MetadataCollection;
use gix::bstr::BStr;
use gix::filter::plumbing::Pipeline;
use gix::filter::plumbing::pipeline::Options;
use gix::filter::plumbing::pipeline::convert::{ToWorktreeOutcome, to_worktree};
use gix::hash::Kind;
use gix::validate::path::component;
use gix::worktree::Stack;
use gix::worktree::stack::State;
use gix::worktree::stack::state::Attributes;
use gix::worktree::stack::state::attributes::Source;

/// Names that no path may have as a part.
pub(super) const NAMES: component::Options = component::Options {
    protect_windows: false,
    protect_hfs: true,
    protect_ntfs: true,
};

/// A pipeline without programs.
pub(super) fn pipeline(object_hash: Kind) -> Pipeline {
    Pipeline::new(
        gix::command::Context::default(),
        object_hash,
        Options::default(),
    )
}

/// Attributes from the tree alone, with git's built-in macro `binary`.
pub(super) fn attributes() -> std::io::Result<Attributes> {
    let mut collection = MetadataCollection::default();
    let none: [&str; 0] = [];
    let globals = Search::new_globals(none, &mut Vec::new(), &mut collection)?;
    Ok(Attributes::new(
        globals,
        None,
        Source::IdMapping,
        collection,
    ))
}

/// Makes single blobs of one tree into the bytes that a checkout writes.
pub(super) struct Converter {
    stack: Stack,
    pipeline: Pipeline,
}

impl Converter {
    pub fn new(index: &gix::index::State) -> std::io::Result<Self> {
        let state = State::AttributesStack(attributes()?);
        let case = gix::glob::pattern::Case::Sensitive;
        let files = state.id_mappings_from_index(index, index.path_backing(), case);
        Ok(Self {
            stack: Stack::new("", state, case, Vec::new(), files),
            pipeline: pipeline(index.object_hash()),
        })
    }

    /// The bytes of the file at `path`, given those of its blob.
    pub fn convert(
        &mut self,
        blob: &[u8],
        path: &BStr,
        objects: &dyn gix::objs::Find,
    ) -> gix::Result<Vec<u8>> {
        let mode = Some(gix::index::entry::Mode::FILE);
        let platform = self
            .stack
            .at_entry(path, mode, objects)
            .map_err(gix::Error::from_error)?;
        let options = to_worktree::Options {
            can_delay: gix::filter::plumbing::driver::apply::Delay::Forbid,
            unknown_encoding: to_worktree::UnknownEncoding::Ignore,
        };
        let mut matching = |_: &BStr, out: &mut gix::attrs::search::Outcome| {
            platform.matching_attributes(out);
        };
        match self
            .pipeline
            .convert_to_worktree(blob, path, &mut matching, options)?
        {
            ToWorktreeOutcome::Unchanged(bytes) | ToWorktreeOutcome::Buffer(bytes) => {
                Ok(bytes.to_vec())
            }
            ToWorktreeOutcome::Process(_) => unreachable!("the pipeline has no programs"),
        }
    }
}
