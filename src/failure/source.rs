//! Failures of taking a push or a source in.

use std::error::Error;

use super::{Draft, cancelled, machine, sentence};
use crate::fetch::{FetchError, GitError};
use crate::output::Failure;
use crate::pipeline::SubmoduleError;
use crate::{checkout, receive};

pub(super) fn explain(error: &(dyn Error + 'static)) -> Option<Failure> {
    let draft = if let Some(error) = error.downcast_ref::<receive::Error>() {
        receive(error)
    } else if let Some(error) = error.downcast_ref::<checkout::Error>() {
        checkout(error)
    } else if let Some(error) = error.downcast_ref::<SubmoduleError>() {
        submodule(error)
    } else if let Some(error) = error.downcast_ref::<FetchError>() {
        fetch(error)
    } else if let Some(error) = error.downcast_ref::<GitError>() {
        git(error)
    } else {
        return None;
    };
    Some(draft.into())
}

fn receive(error: &receive::Error) -> Draft {
    use receive::Error as E;
    match error {
        E::Io { .. } | E::Repository { .. } | E::NotARepository { .. } | E::Symbolic { .. } | E::Write { .. } => {
            machine("The repository could not be used.", error)
        }
        E::Read { .. } | E::Cut => Draft::caller("push_cut", "The push ended before it was complete.")
            .remedy("Nothing was changed; push again."),
        E::Stopped => cancelled(),
        E::PacketLine { .. } | E::Malformed { .. } | E::Capability { .. } | E::NotAPack => {
            Draft::caller("bad_request", "This is not git's push protocol.")
                .found(sentence(error))
                .remedy("Push with git.")
        }
        E::RefName { .. } | E::Repeated { .. } => Draft::caller("ref_invalid", sentence(error)).remedy("Push branches and tags by their names."),
        E::Commands { .. } | E::ShallowLines { .. } => Draft::caller("push_over_limit", sentence(error)).remedy("Push in several parts."),
        E::PushOption { .. } | E::PushOptions { .. } => Draft::caller("push_option", sentence(error))
            .remedy("Push again with the options of the server, each once: git push -o NAME."),
        E::Certificate { .. } => Draft::caller("push_certificate", sentence(error)).remedy("Push again and sign with a key that the server's operator has named."),
        E::ObjectFormat { .. } => Draft::caller("object_format", sentence(error)).remedy("Make an app of the other format: slugline apps create --object-format. It cannot be changed later."),
        E::Objects { .. } | E::PackBytes { .. } | E::BaseBytes { .. } | E::UnpackedBytes { .. } => Draft::app("push_over_limit", format!("The push is too large: {error}."))
            .remedy("Push less history at once, and keep large files out of the repository. The server's push_limit_bytes sets the limit."),
        E::Junk | E::Pack { .. } | E::Collision | E::Unreadable | E::Object { .. } | E::Missing { .. } | E::WrongKind { .. } => {
            Draft::app("objects_invalid", "The pushed objects are not in order.")
                .found(sentence(error))
                .remedy("Check your repository with git fsck --strict.")
        }
        E::TooSlow { .. } => Draft::caller("push_too_slow", sentence(error)).remedy("Push again over a faster line, or less history at once."),
        E::TipMissing { .. } => Draft::caller("ref_invalid", sentence(error)).remedy("Push branches that name commits."),
        E::Stale { .. } => Draft::caller("stale", sentence(error)).remedy("Fetch, look at what changed, and push again."),
    }
}

fn checkout(error: &checkout::Error) -> Draft {
    use checkout::Error as E;
    match error {
        E::Io { .. } | E::Repository { .. } | E::NotEmpty { .. } | E::NoCommit { .. } => machine("The source could not be checked out.", error),
        E::Cancelled => cancelled(),
        E::Empty => Draft::app("repository_empty", "There is nothing to build: the source has no file.").remedy("Add the app's files; in a git work tree only tracked ones count: git add, git commit."),
        E::Files { .. } | E::Bytes { .. } => Draft::app("source_too_large", format!("The source is too large: {error}."))
            .remedy("Keep what is not needed for the build out of the repository."),
        E::Submodule { path } => Draft::app("submodule", "Push rejected, submodule install failed.")
            .found(format!("{path} is a submodule, and only those of a pushed app are fetched."))
            .remedy("Commit its files themselves: git rm --cached PATH, remove PATH/.git, git add PATH."),
        E::Twice { .. } | E::Outside { .. } | E::Below { .. } | E::Kind { .. } | E::HardLink { .. } => {
            Draft::app("source_invalid", "The source has an entry that cannot be unpacked safely.")
                .found(sentence(error))
                .remedy("Make the archive or tree again without it; git archive makes good ones.")
        }
        E::Archive { .. } | E::Unsupported { .. } => Draft::app("archive_invalid", "The source is no readable tar archive.")
            .found(super::chain(error))
            .remedy("Send a tar archive, compressed with gzip or not, such as git archive --format=tar.gz makes."),
        E::Ignore { .. } => Draft::app("slugignore_invalid", sentence(error))
            .remedy("Make .slugignore an ordinary text file with a pattern a line, or remove it."),
        E::NothingTracked { .. } => Draft::caller("nothing_tracked", sentence(error)).remedy("Add the app's files to git: git add."),
    }
}

fn submodule(error: &SubmoduleError) -> Draft {
    use SubmoduleError as E;
    let draft = Draft::app("submodule", "Push rejected, submodule install failed.");
    match error {
        E::NoUrl { .. } | E::File { .. } => draft
            .found(sentence(error))
            .remedy("Add it by git submodule add URL, and commit .gitmodules."),
        E::Url { .. } => draft.found(sentence(error)).remedy(
            "Submodules are fetched over https, without a password, from hosts that builds may reach.",
        ),
        E::Count { .. } | E::Depth { .. } | E::Place { .. } => draft
            .found(sentence(error))
            .remedy("Commit the files of submodules themselves: git rm --cached PATH, remove PATH/.git, git add PATH."),
        E::Fetch { source: GitError::Cancelled, .. } => cancelled(),
        E::Fetch { source, .. } => draft
            .found(sentence(error))
            .found(sentence(source))
            .remedy("The commit must be on a branch or tag of a repository that git clone takes without a password."),
    }
}

fn fetch(error: &FetchError) -> Draft {
    use FetchError as E;
    match error {
        E::Scheme { .. } | E::ChecksumForm { .. } => {
            Draft::caller("source_blob_invalid", sentence(error))
                .remedy("Put the archive to a source of this server: POST /sources.")
        }
        E::Checksum { .. } => Draft::caller("checksum_mismatch", sentence(error))
            .remedy("Upload the archive again, or announce its own checksum."),
        E::TooLarge { .. } => Draft::caller("source_too_large", sentence(error))
            .remedy("Keep what is not needed for the build out of the archive."),
        E::Http { .. } | E::Read { .. } => {
            Draft::caller("source_unreachable", "An archive could not be fetched.")
                .found(super::chain(error))
                .remedy("The URL must answer a plain GET with the archive, and not have expired.")
        }
        E::Refused { .. } => refused("source_unreachable", error),
        E::NotPut => Draft::caller("source_unreachable", sentence(error))
            .remedy("Put the archive to the source's put_url first."),
        E::Cancelled => cancelled(),
        E::Io { .. } => machine("The source could not be kept.", error),
    }
}

fn git(error: &GitError) -> Draft {
    use GitError as E;
    match error {
        E::Failed { .. } => Draft::app("buildpack_unreachable", "The buildpack could not be fetched.")
            .found(sentence(error))
            .remedy("The URL must be one that git clone takes without a password: look at it, and at whether the repository is public."),
        E::TooLarge { .. } => Draft::app("buildpack_unreachable", sentence(error))
            .remedy("Use a .tgz of the buildpack, without its history."),
        E::NoReference { .. } => Draft::app("buildpack_unreachable", sentence(error))
            .remedy("Name a branch, tag or commit of the buildpack after #, or leave it out for the default branch."),
        E::TimedOut { .. } => Draft::app("buildpack_unreachable", sentence(error))
            .remedy("Push again later; a .tgz of the buildpack is fetched faster than a repository with a long history."),
        E::Refused { .. } => refused("buildpack_unreachable", error),
        E::Cancelled => cancelled(),
        E::Run(_) => machine("git could not be run.", error).remedy("Buildpacks of git repositories need git on the server: install it, such as by apt install git."),
    }
}

/// An address that the server does not connect to in the name of others.
fn refused(id: &'static str, error: &dyn Error) -> Draft {
    Draft::caller(id, "The server does not fetch from there.")
        .found(sentence(error))
        .remedy("Name a public host. An operator allows others by network_allow in the server's slugline.yml.")
}
