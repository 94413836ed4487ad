//! Failures of detecting, compiling and packing an app.

use std::error::Error;

use super::{Draft, cancelled, chain, machine, nobody_reads, sentence};
use crate::buildpack::{BuildpackError, Misspelt};
use crate::output::{Failure, human_size};
use crate::procfile::ProcfileError;
use crate::sandbox::{self, Cause, Limit};
use crate::{compile, detect, pack, pipeline, store};

pub(super) fn explain(error: &(dyn Error + 'static)) -> Option<Failure> {
    let draft = if let Some(error) = error.downcast_ref::<pipeline::Error>() {
        pipeline(error)
    } else if let Some(error) = error.downcast_ref::<detect::Error>() {
        detect(error)
    } else if let Some(error) = error.downcast_ref::<compile::Error>() {
        compile(error)
    } else if let Some(error) = error.downcast_ref::<ProcfileError>() {
        procfile(error)
    } else if let Some(error) = error.downcast_ref::<BuildpackError>() {
        buildpack(error)
    } else if let Some(error) = error.downcast_ref::<sandbox::Error>() {
        sandbox(error)
    } else if let Some(error) = error.downcast_ref::<pack::Error>() {
        pack(error)
    } else if let Some(error) = error.downcast_ref::<store::Error>() {
        store(error)
    } else {
        return None;
    };
    Some(draft.into())
}

fn pipeline(error: &pipeline::Error) -> Draft {
    use pipeline::Error as E;
    match error {
        E::NoLanguage { asked, found, misspelt, below } => no_language(asked, found, misspelt, below),
        E::NotCompatible { buildpack, explanation } => Draft::app("buildpack_not_compatible", format!("App not compatible with buildpack: {buildpack}"))
            .found(if explanation.is_empty() {
                "Its bin/detect did not say why.".to_owned()
            } else {
                explanation.clone()
            })
            .remedy("Add the file that the buildpack looks for, or choose another buildpack."),
        E::NoRoot { root } => Draft::app("no_root", sentence(error))
            .remedy(format!("Commit {root} as a directory with files in it, or change the app's root: slugline apps set NAME --root DIR, with / for the repository's root.")),
        E::Declared { .. } => Draft::app("declaration_invalid", sentence(error))
            .remedy("Correct the file, or choose the buildpacks yourself: slugline buildpacks set NAME, or slugline build --buildpack NAME."),
        E::ProcfileKind { what } => Draft::app("procfile_invalid", format!("The Procfile is {what}, not a file."))
            .remedy("Commit the Procfile as an ordinary text file at the root of the repository."),
        E::SlugTooLarge { got_bytes, limit_bytes, breakdown } => breakdown.iter().fold(Draft::app(
            "slug_too_large",
            format!("Compiled slug size: {} is too large (max is {}).", human_size(*got_bytes), human_size(*limit_bytes)),
        ), Draft::found)
        .remedy("Remove what does not need to be deployed, such as datasets, media and caches, or move it to an object store."),
    }
}

fn no_language(
    asked: &[String],
    found: &[String],
    misspelt: &[Misspelt],
    below: &[String],
) -> Draft {
    let mut draft = Draft::app(
        "no_language_detected",
        "No default language could be detected for this app.",
    )
    .found(format!(
        "Asked, in order: {}.\nFound at the root: {}.",
        asked.join(", "),
        found.join(", ")
    ));
    for near in misspelt.iter().take(5) {
        draft = draft.remedy(format!(
            "Is {} meant to be {}? The buildpack {} looks for that name, letter by letter.",
            near.found.escape_debug(),
            near.marker,
            near.buildpack
        ));
    }
    if let Some(first) = below.first() {
        let dir = first.rsplit_once('/').map_or("", |(dir, _)| dir);
        return draft.remedy(format!(
            "There is {} below the root. If the app is that directory: slugline apps set NAME --root {}",
            first.escape_debug(),
            dir.escape_debug()
        ));
    }
    if !misspelt.is_empty() {
        return draft;
    }
    draft.remedy(
        "Commit the file that marks your language, such as requirements.txt or package.json, at the root of the repository. \
         For any other language, choose a buildpack: slugline buildpacks set URL",
    )
}

fn detect(error: &detect::Error) -> Draft {
    use detect::Error as E;
    match error {
        E::TimedOut {
            buildpack,
            limit_seconds,
        } => Draft::app(
            "detect_timed_out",
            format!("Timed out asking the buildpack {buildpack} about the app."),
        )
        .found(format!(
            "Its bin/detect ran for more than {limit_seconds} seconds."
        ))
        .remedy("Choose the buildpack that the app needs instead of having all of them asked."),
        E::Flood { .. } => Draft::app("detect_flood", sentence(error))
            .remedy("Correct the buildpack's bin/detect, or use another version of it."),
        E::NoAnswer { .. } => Draft::platform("detect_no_answer", sentence(error))
            .remedy("The stack needs sh, mktemp, timeout and tar."),
        E::Cancelled => cancelled(),
        E::Sandbox { source, .. } => sandbox(source),
    }
}

fn compile(error: &compile::Error) -> Draft {
    use compile::Error as E;
    match error {
        // The buildpack has said why, right above; these words are the ones that tools match on.
        E::Failed { label, stack, .. } => {
            let summary = format!("Push rejected, failed to compile {label} app.");
            let draft = Draft::app("compile_failed", summary);
            let Some(stack) = stack else { return draft };
            draft
                .found(format!("The buildpack names the stack it was given, {stack}."))
                .remedy(
                    "Heroku's own buildpacks accept only names such as heroku-24. If the app builds there: \
                     slugline apps set NAME --stack-env heroku-24, or import that root file system: \
                     slugline stack import heroku-24 ROOTFS.tar",
                )
        }
        E::TimedOut {
            label,
            limit_seconds,
            cpu_percent,
            ..
        } => cpu_percent.iter().fold(Draft::app(
            "compile_timed_out",
            format!(
                "Timed out compiling {label} app ({} minutes)",
                limit_seconds.div_ceil(60)
            ),
        ).found(format!("The limit is {limit_seconds} seconds (build_timeout_seconds: {limit_seconds}).")), |draft, percent| {
            draft.found(format!("It had {percent} % of a core (build_cpu_percent: {percent}); raising that makes it faster."))
        })
        .remedy(
            "Make the build shorter, or raise build_timeout_seconds in the server's slugline.yml.",
        ),
        E::Cancelled => cancelled(),
        E::Release { buildpack, reason } => Draft::app(
            "release_invalid",
            format!("The buildpack {buildpack} does not say how to run the app."),
        )
        .found(format!("Its bin/release should print YAML: {reason}."))
        .remedy("Correct the buildpack's bin/release, or use another version of it."),
        E::Sandbox { source, .. } => sandbox(source),
        E::CacheTooDeep { .. } => Draft::app("cache_too_deep", sentence(error))
            .remedy("Let the buildpack keep flat trees in CACHE_DIR."),
        E::Io { .. } => machine("The build could not be prepared.", error),
    }
}

fn procfile(error: &ProcfileError) -> Draft {
    let draft =
        Draft::app("procfile_invalid", "Push rejected, malformed Procfile.").found(sentence(error));
    match error {
        ProcfileError::Syntax { .. } => draft.remedy("Separate the process type from its command by a colon, as in\n  web: ./server --port $PORT"),
        ProcfileError::NoCommand { .. } => draft.remedy("Write the command after the colon, or remove the line."),
        ProcfileError::NotText { .. } => draft.remedy("Save the Procfile as UTF-8."),
        ProcfileError::TooLong { .. } => draft.remedy("A Procfile has one line for each process type; move scripts to files of their own."),
    }
}

pub(super) fn buildpack(error: &BuildpackError) -> Draft {
    match error {
        BuildpackError::Unknown { .. } => Draft::caller("buildpack_unknown", sentence(error)).remedy(format!(
            "Built-in ones: {}; inline is the app's own bin/. Any other is the URL of a git repository, https://…#REF, or of a .tgz. \
             With slugline build it can also be a path, written with a slash, such as ./my-buildpack.",
            crate::buildpack::builtin_names().join(", ")
        )),
        BuildpackError::Url { .. } => Draft::caller("buildpack_url", sentence(error))
            .remedy("Name a public https:// URL of a git repository, with #REF for a branch, tag or commit, or of a .tgz, with #sha256:… for its checksum."),
        BuildpackError::Local { .. } => Draft::caller("buildpack_local", sentence(error))
            .remedy("Put the buildpack into a git repository or a .tgz that the server can fetch. A path works with slugline build."),
        BuildpackError::Twice { .. } => Draft::caller("buildpack_twice", sentence(error)).remedy("Name each buildpack once."),
        BuildpackError::NoScript { .. } => Draft::app("buildpack_incomplete", sentence(error))
            .remedy("A buildpack needs bin/detect and bin/compile, both of them files."),
        BuildpackError::Io { .. } => machine("A buildpack could not be copied.", error),
    }
}

pub(super) fn sandbox(error: &sandbox::Error) -> Draft {
    use sandbox::Error as E;
    match error {
        E::Refused { step, reason } => {
            let draft = Draft::platform(
                "sandbox_refused",
                "This machine does not allow the namespaces that a build runs in.",
            )
            .found(format!("At the step «{step}»: {reason}."));
            remedy_of(sandbox::cause_of_refusal())
                .into_iter()
                .fold(draft, Draft::remedy)
        }
        E::Limit { limit, value } => reached(*limit, *value),
        E::LimitLikely { limit, value } => probably_reached(*limit, *value),
        E::TooWeak { got, required } => Draft::platform(
            "sandbox_too_weak",
            "This machine does not isolate builds as its operator requires.",
        )
        .found(format!(
            "Isolation is {got}; sandbox_require asks for {required}."
        ))
        .remedy("Run the server as root, or lower sandbox_require in its slugline.yml."),
        E::Direct { .. } => Draft::platform("network_direct", sentence(error))
            .remedy("Mend that, or choose `network: proxy`, which needs nothing, in the server's slugline.yml; for dynos it is `dyno_network: proxy`."),
        E::Helper { .. } => Draft::platform(
            "sandbox_helper",
            "The build's helper process could not be started.",
        )
        .found(chain(error))
        .remedy("The slugline binary must stay where it was started from."),
        E::Io { .. } => machine("The build's root could not be made.", error),
        E::Replaced { .. } => Draft::app("directory_replaced", sentence(error))
            .remedy("A build changes what is inside of /app and /cache; let it leave the directories themselves."),
        E::Output(_) => nobody_reads(),
    }
}

/// A build that used up its share: which, how much that is, and how an operator raises it.
fn reached(limit: Limit, value: u64) -> Draft {
    let (id, what, much, setting) = words_of(limit, value);
    Draft::app(id, format!("The build was ended: it used up its {what}."))
        .found(format!("The limit is {much} ({setting}: {value})."))
        .remedy(format!(
            "Make the build use less, or raise {setting} in the server's slugline.yml."
        ))
}

/// The same where only the build's own words say so.
fn probably_reached(limit: Limit, value: u64) -> Draft {
    let (id, what, much, setting) = words_of(limit, value);
    let summary = format!(
        "The build failed, and its last words are those of a program that used up its {what}."
    );
    Draft::app(id, summary)
        .found(format!("The limit is {much} ({setting}: {value})."))
        .remedy(format!(
            "If it was that one, make the build use less, or raise {setting} in the server's slugline.yml."
        ))
}

/// A limit's failure, what is limited, how much it is, and the setting.
fn words_of(limit: Limit, value: u64) -> (&'static str, &'static str, String, &'static str) {
    match limit {
        Limit::Memory => (
            "build_memory_limit",
            "memory",
            human_size(value),
            "build_memory_bytes",
        ),
        Limit::Processes => (
            "build_process_limit",
            "processes and threads",
            value.to_string(),
            "build_processes",
        ),
        Limit::OpenFiles => (
            "build_open_file_limit",
            "open files of one process",
            value.to_string(),
            "build_open_files",
        ),
        Limit::FileBytes => (
            "build_file_size_limit",
            "size of one file",
            human_size(value),
            "build_file_bytes",
        ),
        Limit::DiskBytes => (
            "build_disk_limit",
            "disk",
            human_size(value),
            "build_disk_bytes",
        ),
        Limit::DiskFiles => (
            "build_file_limit",
            "files",
            value.to_string(),
            "build_disk_files",
        ),
    }
}

/// What an operator does about a refusal.
fn remedy_of(cause: Cause) -> Vec<&'static str> {
    match cause {
        Cause::AppArmor => vec![
            "AppArmor keeps programs without a profile from making user namespaces. Allow them for slugline:\n  \
             printf 'abi <abi/4.0>,\\ninclude <tunables/global>\\nprofile slugline /usr/local/bin/slugline flags=(unconfined) {\\n  userns,\\n}\\n' | sudo tee /etc/apparmor.d/slugline\n  \
             sudo apparmor_parser -r /etc/apparmor.d/slugline",
            "Or for every program:\n  sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ],
        Cause::UnprivilegedCloneOff => {
            vec!["Allow user namespaces:\n  sudo sysctl -w kernel.unprivileged_userns_clone=1"]
        }
        Cause::NoNamespacesLeft => {
            vec!["Allow user namespaces:\n  sudo sysctl -w user.max_user_namespaces=65536"]
        }
        Cause::Container => vec![
            "Start the container with the rights to make namespaces:\n  \
             docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined --cap-add SYS_ADMIN …\n  \
             podman run --security-opt seccomp=unconfined --security-opt unmask=ALL --cap-add SYS_ADMIN …",
        ],
        Cause::Unknown => {
            vec!["`slugline doctor` shows what this machine can do and what is missing."]
        }
    }
}

fn pack(error: &pack::Error) -> Draft {
    use pack::Error as E;
    match error {
        E::Read { .. } => machine("The built app could not be read.", error),
        E::Changed { .. } => Draft::app("changed_while_packed", sentence(error))
            .remedy("A process of the build still writes to it; make the build wait for all that it starts."),
        E::WriteSlug(_) => machine("The slug could not be written.", error),
        E::ReadSlug(_) | E::Malformed { .. } | E::Refused { .. } => {
            Draft::caller("slug_invalid", "This is no slug that can be used.").found(chain(error)).remedy(
                "A slug is a gzip tar whose entries stand below ./app/. Build it again, or download it again.",
            )
        }
        E::TooManyEntries { .. } | E::TooManyBytes { .. } | E::TooManyNames { .. } => {
            Draft::app("slug_over_limit", format!("The slug is over a limit: {error}."))
                .remedy("Remove what does not need to be deployed, such as caches and development dependencies.")
        }
        E::NotEmpty { .. } => Draft::caller("not_empty", sentence(error)).remedy("Name a directory that is empty."),
        E::Extract { .. } => machine("The slug could not be unpacked.", error),
        E::Mismatch { .. } => Draft::caller("slug_mismatch", "The slug is not what its manifest says.")
            .found(sentence(error))
            .remedy("Download or build it again; do not run it."),
    }
}

fn store(error: &store::Error) -> Draft {
    match error {
        store::Error::NotFound { .. } => {
            Draft::platform("not_found", sentence(error)).remedy("Deploy the app again.")
        }
        store::Error::Io { .. } => machine("The slug store does not work.", error),
        store::Error::Bucket { .. } => machine("The slug store's bucket does not work.", error),
        store::Error::Damaged(_) => machine("The slug store's bucket has a damaged blob.", error),
    }
}
