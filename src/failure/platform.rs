//! Failures of requests to the platform: names, tokens, config vars, settings.

use std::error::Error;

use super::{Draft, build, cancelled, chain, machine, nobody_reads, sentence};
use crate::app::{LayoutError, NameError, ObjectFormatError};
use crate::checkout;
use crate::config::ConfigError;
use crate::domain::DomainError;
use crate::http::tls::TlsError;
use crate::http::{AccessError, ApiError};
use crate::output::Failure;
use crate::platform::api_build::TooManyBuilds;
use crate::platform::data::DataError;
use crate::platform::domains::ReservedDomain;
use crate::platform::drains::DrainError;
use crate::platform::dynos::TooManyOneOffs;
use crate::platform::ledger::LedgerError;
use crate::platform::queue::Left;
use crate::platform::running::FormationError;
use crate::platform::settings::SettingsError;
use crate::platform::stacks::StackError;
use crate::release;
use crate::router::CertificateError;
use crate::stack::StackNameError;

pub(super) fn explain(error: &(dyn Error + 'static)) -> Option<Failure> {
    let draft = if let Some(error) = error.downcast_ref::<LedgerError>() {
        ledger(error)
    } else if let Some(error) = error.downcast_ref::<ConfigError>() {
        config(error)
    } else if let Some(error) = error.downcast_ref::<NameError>() {
        Draft::caller("invalid_params", sentence(error)).remedy("Choose a name such as calm-river.")
    } else if let Some(error) = error.downcast_ref::<DomainError>() {
        Draft::caller("invalid_params", sentence(error))
            .remedy("Name a host such as www.example.com, or *.example.com for all names below.")
    } else if let Some(error) = error.downcast_ref::<ReservedDomain>() {
        Draft::caller("invalid_params", sentence(error)).remedy(
            "Choose a domain that is your own: each app has NAME below the platform's already.",
        )
    } else if let Some(error) = error.downcast_ref::<ObjectFormatError>() {
        Draft::caller("invalid_params", sentence(error)).remedy("Leave it out for sha1.")
    } else if let Some(error) = error.downcast_ref::<StackError>() {
        stack(error)
    } else if let Some(error) = error.downcast_ref::<StackNameError>() {
        Draft::caller("invalid_params", sentence(error)).remedy("`slugline stack list` lists them.")
    } else if let Some(error) = error.downcast_ref::<LayoutError>() {
        layout(error)
    } else if let Some(error) = error.downcast_ref::<ApiError>() {
        api(error)
    } else if let Some(error) = error.downcast_ref::<DataError>() {
        data(error)
    } else if let Some(error) = error.downcast_ref::<FormationError>() {
        formation(error)
    } else if let Some(error) = error.downcast_ref::<TooManyBuilds>() {
        Draft::caller("too_many_builds", sentence(error))
            .remedy("Wait until one of them has ended, or cancel some: slugline builds cancel.")
    } else if let Some(error) = error.downcast_ref::<DrainError>() {
        let draft = Draft::caller("invalid_params", sentence(error));
        match error {
            DrainError::Url => draft.remedy(
                "Name syslog://HOST:PORT, syslog+tls://HOST:PORT or https://USER:PASSWORD@HOST/PATH.",
            ),
            DrainError::Refused { .. } => draft.remedy(
                "Name a public address, or have the operator put this one into network_allow.",
            ),
        }
    } else if let Some(error) = error.downcast_ref::<TooManyOneOffs>() {
        Draft::caller("invalid_params", sentence(error))
            .remedy("`slugline ps` lists them, `slugline ps stop run.1` ends one.")
    } else if let Some(error) = error.downcast_ref::<Left>() {
        left(error)
    } else if let Some(error) = error.downcast_ref::<SettingsError>() {
        Draft::caller("settings_invalid", sentence(error))
            .remedy("Correct it and start the server again.")
    } else if let Some(error) = error.downcast_ref::<AccessError>() {
        Draft::caller("forbidden", sentence(error))
            .remedy("Use another token, or have one made: slugline token create NAME.")
    } else if let Some(error) = error.downcast_ref::<TlsError>() {
        tls(error)
    } else if let Some(error) = error.downcast_ref::<CertificateError>() {
        Draft::caller("tls_invalid", sentence(error))
            .found(super::chain(error))
            .remedy("Put NAME.pem (a chain, the name's own certificate first) and NAME.key into the directory of router_certificates.")
    } else if let Some(error) = error.downcast_ref::<release::ParseError>() {
        Draft::caller("invalid_params", sentence(error)).remedy("`slugline releases` lists them.")
    } else {
        return None;
    };
    Some(draft.into())
}

fn ledger(error: &LedgerError) -> Draft {
    use LedgerError as E;
    match error {
        E::Open { .. } | E::Database(_) => machine("The ledger cannot be used.", error),
        E::Newer { .. } => Draft::platform("ledger_newer", sentence(error)).remedy("Start the newer slugline, or another data directory."),
        E::NotFound { what: "app", name } => Draft::caller("not_found", format!("Couldn't find that app: {name}."))
            .remedy("`slugline apps` lists the apps, `slugline apps create NAME` makes one."),
        E::NotFound { what, name } => Draft::caller("not_found", format!("Couldn't find that {what}: {name}."))
            .remedy(format!("`slugline {what}s` lists what there is.")),
        E::Conflict { what, name } => Draft::caller("invalid_params", format!("The {what} name {name} is taken.")).remedy("Choose another name."),
        E::TooMany { what, .. } => Draft::caller("invalid_params", sentence(error)).remedy(format!("Remove one first: `slugline {what}s` lists them.")),
        E::Ambiguous { .. } => Draft::caller("invalid_params", sentence(error)).remedy("Name it by its id."),
        E::Revoked { .. } => Draft::platform("token_revoked", sentence(error)).remedy("Remove the file admin-token from the data directory and start the server again: it makes a new one."),
        E::BuildEnded { .. } => Draft::caller("build_ended", sentence(error)).remedy("Only a build that is under way can be cancelled."),
        E::BuildCancelled { .. } => cancelled(),
        E::NoSlug { .. } => Draft::caller("no_slug", sentence(error)).remedy("Deploy first: git push slugline main. `slugline releases` shows which releases have a slug."),
        E::NotSucceeded { .. } => Draft::caller("release_not_succeeded", sentence(error)).remedy("Choose a release that has succeeded; `slugline releases` lists them."),
        E::Config(error) => config(error),
        E::Buildpack(error) => build::buildpack(error),
        E::Random(_) => machine("The system has no random bytes.", error),
    }
}

fn config(error: &ConfigError) -> Draft {
    let draft = Draft::caller("invalid_params", sentence(error));
    match error {
        ConfigError::Name { .. } => draft.remedy("Choose a name such as DATABASE_URL."),
        ConfigError::Nul { .. } => draft.remedy("Encode the value, for example with base64."),
        ConfigError::Form { .. } => {
            draft.remedy("Write NAME=VALUE; quote values with blanks: GREETING='hello world'.")
        }
        ConfigError::TooLarge { .. } => draft.remedy(
            "Keep large values in a file or a service, and only their place in a config var.",
        ),
    }
}

fn stack(error: &StackError) -> Draft {
    use StackError as E;
    let import = "Import a root file system with: slugline stack import NAME ROOTFS.tar|DIR";
    match error {
        E::Unknown { known, .. } => Draft::caller("stack_unknown", sentence(error))
            .found(format!("There are: {}.", known.join(", ")))
            .remedy(import),
        E::OfHost { .. } => Draft::caller("stack_of_host", sentence(error))
            .remedy("Import it under another name."),
        E::Source { .. } => Draft::caller("stack_source", sentence(error)).remedy(import),
        E::NoRoot { .. } => Draft::caller("stack_invalid", sentence(error)).remedy(
            "It needs /bin/sh, and what buildpacks use: bash, mktemp, timeout, tar. debootstrap, mmdebstrap and docker export make such a tarball.",
        ),
        E::Unpack { source: checkout::Error::Cancelled, .. } => cancelled(),
        E::Unpack { .. } | E::Read { .. } => {
            Draft::caller("stack_invalid", "The root file system cannot be imported.")
                .found(chain(error))
                .remedy("Make the tarball again, without devices outside of /dev and with names inside of it alone.")
        }
        E::Io { .. } => machine("The stacks cannot be read or written.", error),
    }
}

fn layout(error: &LayoutError) -> Draft {
    let draft = Draft::caller("invalid_params", sentence(error));
    match error {
        LayoutError::BuildDir { .. } => {
            draft.remedy("app builds at /app, where the app will run; separate builds below /tmp.")
        }
        LayoutError::Root { .. } => draft.remedy(
            "Name a directory from the repository's root on, such as services/api; `--root /` is the root itself.",
        ),
    }
}

fn api(error: &ApiError) -> Draft {
    match error {
        ApiError::Body { .. } | ApiError::Path => Draft::caller("bad_request", sentence(error))
            .remedy("Send a JSON object of at most 1 MiB."),
        ApiError::Field { .. } => Draft::caller("invalid_params", sentence(error))
            .remedy("The Platform API's schema lists the fields of each resource."),
        ApiError::Fixed { .. } => Draft::caller("invalid_params", sentence(error))
            .remedy("An app keeps what it was made with: make another one, and deploy to that."),
        ApiError::ReleaseOf => Draft::caller("invalid_params", sentence(error))
            .remedy("Send {\"slug\": ID} to release a slug, {\"release\": ID} to roll back."),
    }
}

fn data(error: &DataError) -> Draft {
    match error {
        DataError::Locked { .. } => Draft::caller("data_locked", sentence(error))
            .remedy("Stop that server, or choose another directory with --data."),
        DataError::Io { .. } => machine("The data directory cannot be used.", error),
    }
}

fn formation(error: &FormationError) -> Draft {
    match error {
        FormationError::NoType { known, .. } => {
            let draft = Draft::caller("not_found", sentence(error));
            if known.is_empty() {
                draft.remedy("Deploy first: git push slugline main.")
            } else {
                draft
                    .found(format!("There are: {}.", known.join(", ")))
                    .remedy("Name one of them, or add it to the Procfile and deploy.")
            }
        }
        FormationError::TooMany { .. } => {
            Draft::caller("invalid_params", sentence(error)).remedy("Choose a smaller number.")
        }
        FormationError::NoSize { known, .. } => Draft::caller("invalid_params", sentence(error))
            .found(format!("There are: {}.", known.join(", ")))
            .remedy("Name one of them; the server's dyno_sizes has them."),
        FormationError::NoDyno { .. } => Draft::caller("not_found", sentence(error))
            .remedy("`slugline ps` lists the dynos, `slugline ps scale` starts more."),
    }
}

fn left(error: &Left) -> Draft {
    match error {
        Left::Cancelled => cancelled(),
        Left::Output(_) => nobody_reads(),
    }
}

fn tls(error: &TlsError) -> Draft {
    Draft::caller("tls_invalid", sentence(error))
        .found(super::chain(error))
        .remedy("Name PEM files with --tls-cert (the certificate chain, the server's own first) and --tls-key.")
}
