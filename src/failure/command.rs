//! Failures of the command line: the server that is called, sources, and what is to be run.

use std::error::Error;

use super::{Draft, sentence};
use crate::cli::build::{CloneError, OutputError, SourceError};
use crate::cli::buildpack_tool::ToolError;
use crate::cli::client::{self, ClientError};
use crate::cli::machine::UpstreamError;
use crate::cli::run::RunError;
use crate::cli::slug::SlugError;
use crate::output::Failure;
use crate::pack::DeltaError;
use crate::tool;

pub(super) fn explain(error: &(dyn Error + 'static)) -> Option<Failure> {
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return Some(client::explain(error));
    }
    let draft = if let Some(error) = error.downcast_ref::<tool::Error>() {
        tool(error)
    } else if let Some(error @ ToolError::Runtime { .. }) = error.downcast_ref::<ToolError>() {
        Draft::platform("runtime_unusable", sentence(error)).remedy(
            "Tell the server's operator, who sees what there is with slugline runtime list.",
        )
    } else if let Some(error) = error.downcast_ref::<ToolError>() {
        Draft::app("buildpack_tool", sentence(error))
            .remedy("`slugline buildpack-tool cache --help` says what is taken.")
    } else if let Some(error) = error.downcast_ref::<RunError>() {
        run(error)
    } else if let Some(error) = error.downcast_ref::<SourceError>() {
        Draft::caller("source_not_found", sentence(error)).remedy(
            "Name a directory, a tar archive, or a URL such as https://example.com/app.git#main.",
        )
    } else if let Some(error) = error.downcast_ref::<OutputError>() {
        Draft::caller("no_output_directory", sentence(error))
            .remedy("Make it, or name another file with --output.")
    } else if let Some(error) = error.downcast_ref::<CloneError>() {
        Draft::caller("source_unreachable", sentence(error)).remedy(
            "git's own message is above. Look at the URL, the branch after #, and whether you may read it.",
        )
    } else if let Some(error) = error.downcast_ref::<SlugError>() {
        slug(error)
    } else if let Some(error) = error.downcast_ref::<DeltaError>() {
        Draft::caller("delta_invalid", sentence(error))
            .remedy("Make it again: slugline slug delta FROM TO.")
    } else if let Some(error) = error.downcast_ref::<UpstreamError>() {
        Draft::platform("proxy_unusable", sentence(error)).remedy(
            "Name an HTTP proxy in HTTP_PROXY and HTTPS_PROXY, or set network to host or off in slugline.yml.",
        )
    } else {
        return None;
    };
    Some(draft.into())
}

fn run(error: &RunError) -> Draft {
    match error {
        RunError::NoType { known, .. } => Draft::caller("no_process_type", sentence(error))
            .found(if known.is_empty() {
                "There are none at all.".to_owned()
            } else {
                format!("There are: {}.", known.join(", "))
            })
            .remedy("Name one of them, or a command after two dashes: slugline run … -- COMMAND. A Procfile declares process types."),
        RunError::NoFile { .. } => Draft::caller("no_file", sentence(error)).remedy(
            "Name a slug's file, or a command of an app: slugline run -a NAME -- COMMAND.",
        ),
        RunError::NoCommand => Draft::caller("no_command", sentence(error)).remedy(
            "Name a process type of the app, or a command after two dashes: slugline run -a NAME -- COMMAND. A slug's file runs on this machine: slugline run slug.tgz.",
        ),
        RunError::NothingDeployed { app } => Draft::caller("nothing_deployed", sentence(error))
            .remedy(format!("Deploy first: git push slugline main. `slugline builds -a {app}` shows what became of earlier pushes.")),
    }
}

/// How many packages that differ are named.
const OTHERS_NAMED: usize = 20;

fn slug(error: &SlugError) -> Draft {
    match error {
        SlugError::NoEntry { .. } => Draft::caller("slug_entry_missing", sentence(error))
            .remedy("slugline slug ls FILE lists what there is, relative to the app's root."),
        SlugError::NoFile { .. } => Draft::caller("slug_entry_no_file", sentence(error))
            .remedy("Name a file; slugline slug ls FILE PATH lists a directory."),
        SlugError::OtherBase { .. } => Draft::caller("delta_of_another_slug", sentence(error))
            .remedy("Give the slug that the delta was made from."),
        SlugError::OtherBuildpack { .. } => Draft::caller("rebuild_with_another_buildpack", sentence(error))
            .remedy("Rebuild with the version of Slugline, or of the buildpack, that the slug was built with."),
        SlugError::OtherSource { .. } => Draft::caller("rebuild_of_another_source", sentence(error))
            .remedy("Rebuild from that commit: GIT_URL#COMMIT."),
        SlugError::OtherPackages { others } => {
            let draft = Draft::caller("rebuild_with_other_packages", sentence(error));
            let named = others.iter().take(OTHERS_NAMED);
            named.fold(draft, Draft::found)
                .remedy("Rebuild with the config vars, indexes and registries of the slug's build. What these have replaced or removed since cannot be had again.")
        }
    }
}

fn tool(error: &tool::Error) -> Draft {
    match error {
        tool::Error::NoServer { .. } => Draft::caller("no_build", sentence(error))
            .remedy("This command is for buildpacks, inside of a build."),
        tool::Error::Files(_) => Draft::app("buildpack_tool", "The directory cannot be saved.")
            .found(super::chain(error))
            .remedy("Save directories of files, directories and links alone."),
        tool::Error::Io(_) | tool::Error::Answer { .. } => {
            Draft::platform("buildpack_tool", "The server does not answer.")
                .found(super::chain(error))
                .remedy("Push again.")
        }
    }
}
