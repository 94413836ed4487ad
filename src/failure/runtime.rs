//! Failures of language runtimes.

use std::error::Error;

use super::{Draft, cancelled, machine, sentence};
use crate::cli::runtime::NoVersion;
use crate::cli::runtime::update::NoUpstream;
use crate::output::Failure;
use crate::runtime;

pub(super) fn explain(error: &(dyn Error + 'static)) -> Option<Failure> {
    let draft = if let Some(error) = error.downcast_ref::<runtime::Error>() {
        runtime(error)
    } else if let Some(error) = error.downcast_ref::<NoVersion>() {
        let draft = Draft::caller("runtime_unknown", sentence(error));
        if error.nearest.is_empty() {
            draft.remedy("Bring one: slugline runtime import NAME VERSION PATH.")
        } else {
            draft
                .found(format!("There are: {}.", error.nearest.join(", ")))
                .remedy("`slugline runtime list NAME` lists them all.")
        }
    } else if let Some(error) = error.downcast_ref::<NoUpstream>() {
        Draft::caller("runtime_unknown", sentence(error))
            .remedy("`slugline runtime list` names the runtimes there are.")
    } else {
        return None;
    };
    Some(draft.into())
}

fn runtime(error: &runtime::Error) -> Draft {
    use runtime::Error as E;
    match error {
        E::Unknown { known, .. } => Draft::caller("runtime_unknown", sentence(error))
            .remedy(format!("There are: {}.", known.join(", "))),
        E::Nowhere { .. } => Draft::caller("runtime_unknown", sentence(error)).remedy(
            "`slugline runtime list NAME` lists what there is. Newer releases come with `slugline runtime update`, others with `slugline runtime import`.",
        ),
        E::Offline { .. } => Draft::platform("runtime_unreachable", sentence(error)).remedy(
            "Set runtime_offline to false, or bring it: slugline runtime import NAME VERSION PATH.",
        ),
        E::Unreachable { .. } => Draft::platform("runtime_unreachable", sentence(error)).remedy(
            "Let the server reach it, name a mirror in runtime_mirrors, or bring the runtime: slugline runtime import NAME VERSION PATH.",
        ),
        E::Digest { .. } => Draft::platform("runtime_altered", sentence(error)).remedy(
            "Nothing of it was kept. Look at what lies between the server and this source, its mirror first.",
        ),
        E::Archive { .. } => Draft::platform("runtime_unusable", sentence(error))
            .remedy("Bring the runtime by another way: slugline runtime import NAME VERSION PATH."),
        E::NotThere { found, .. } => Draft::caller("runtime_not_there", sentence(error))
            .found(match found {
                Some(found) => format!("It has {found}."),
                None => "None of its programs says a version.".to_owned(),
            })
            .remedy("Name the directory that has the program in bin, and the version that it says."),
        E::Recipe { .. } => Draft::platform("runtime_inventory", sentence(error)).remedy(
            "Write the list anew: slugline runtime update NAME. Without the file below runtimes/inventory the buildpack's own holds.",
        ),
        E::Prepare { .. } => Draft::platform("runtime_unusable", sentence(error))
            .remedy("It may be damaged, or made for another machine. Bring another one: slugline runtime import NAME VERSION PATH."),
        E::OtherTree { .. } => Draft::caller("runtime_changed", sentence(error)).remedy(
            "Repeat the build on a machine that has the runtime of then, or import it there.",
        ),
        E::Cancelled => cancelled(),
        E::Kind { .. } | E::Io { .. } => machine("The runtime could not be kept.", error),
    }
}
