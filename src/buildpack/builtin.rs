//! The built-in buildpacks: the folders of `buildpacks/`, their order, and the files they look for.

use include_dir::{Dir, include_dir};

use super::Reference;

pub(super) static BUILTIN: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/buildpacks");

/// The folder of `buildpacks/` whose content every built-in buildpack gets as its own `lib/`.
pub(super) const SHARED: &str = "lib";

/// The file of a built-in buildpack that lists, a line each, the names at an app's root that mark
/// its language; `#` begins a comment.
const MARKERS: &str = "markers";

/// The folder of a built-in buildpack with its runtimes, and what a list of releases ends with.
const RUNTIMES: &str = "runtimes";
const RELEASES: &str = ".releases";

/// The file of a built-in buildpack that lists what its builds hand over.
const HANDED: &str = "handed.toml";

/// Most edits between a name that was found and the marker that was meant.
const EDITS: usize = 2;

/// A file at an app's root that is nearly the marker of a language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misspelt {
    pub found: String,
    pub marker: String,
    /// The built-in buildpack that looks for the marker.
    pub buildpack: String,
}

/// The names of the built-in buildpacks, in the order in which they are asked.
///
/// # Panics
/// Never: the order is embedded.
pub fn builtin_names() -> Vec<&'static str> {
    lines("detect-order").expect("buildpacks/detect-order is embedded")
}

/// The built-in buildpacks, in the order in which they are asked.
pub fn builtin_references() -> Vec<Reference> {
    builtin_names()
        .into_iter()
        .map(|name| Reference::Builtin(name.to_owned()))
        .collect()
}

/// Each marker with its buildpack, in the order of detection.
fn markers() -> Vec<(&'static str, &'static str)> {
    let of = |name: &'static str| {
        let markers = lines(&format!("{name}/{MARKERS}")).unwrap_or_default();
        markers.into_iter().map(move |marker| (marker, name))
    };
    builtin_names().into_iter().flat_map(of).collect()
}

/// The runtimes that built-in buildpacks build with: what tells how one is had, and its releases.
/// `runtime` knows the form of both.
pub fn builtin_runtimes() -> Vec<(&'static str, &'static str)> {
    let text = |path: String| BUILTIN.get_file(path)?.contents_utf8();
    let of = |name: &str| -> Vec<(&'static str, &'static str)> {
        let dir = BUILTIN.get_dir(format!("{name}/{RUNTIMES}"));
        let files = dir.into_iter().flat_map(Dir::files);
        let recipes = files.filter_map(|file| {
            let path = file.path().to_str()?.strip_suffix(".toml")?;
            let is_recipe = !path.ends_with(RELEASES);
            is_recipe.then(|| {
                Some((
                    file.contents_utf8()?,
                    text(format!("{path}{RELEASES}.toml"))?,
                ))
            })?
        });
        recipes.collect()
    };
    builtin_names().into_iter().flat_map(of).collect()
}

/// The lists of what builds may hand over for all others; `runtime` knows their form.
pub fn builtin_handed() -> Vec<&'static str> {
    let text = |name| {
        BUILTIN
            .get_file(format!("{name}/{HANDED}"))?
            .contents_utf8()
    };
    builtin_names().into_iter().filter_map(text).collect()
}

fn lines(path: &str) -> Option<Vec<&'static str>> {
    let text = BUILTIN.get_file(path)?.contents_utf8()?;
    let lines = text.lines().map(str::trim);
    Some(
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect(),
    )
}

/// Of the names at an app's root, those that are nearly a marker: in other letters' case, or one or
/// two edits away.
pub fn misspelt_markers<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Misspelt> {
    let markers = markers();
    let near = |found: &str| {
        let (distance, marker, buildpack) = markers
            .iter()
            .map(|(marker, buildpack)| (distance(found, marker), *marker, *buildpack))
            .min_by_key(|(distance, ..)| *distance)?;
        // A short name is two edits away from anything.
        let most = if marker.len() < 8 { 1 } else { EDITS };
        (distance <= most).then(|| Misspelt {
            found: found.to_owned(),
            marker: marker.to_owned(),
            buildpack: buildpack.to_owned(),
        })
    };
    names.into_iter().filter_map(near).collect()
}

/// Of paths such as `api/app.lang`, those whose last name is a marker.
pub fn markers_below<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let markers = markers();
    let is_marker = |path: &&str| {
        let name = path.rsplit('/').next();
        markers.iter().any(|(marker, _)| Some(*marker) == name)
    };
    paths
        .into_iter()
        .filter(is_marker)
        .map(str::to_owned)
        .collect()
}

fn distance(found: &str, marker: &str) -> usize {
    if found.eq_ignore_ascii_case(marker) {
        return 0;
    }
    strsim::damerau_levenshtein(&found.to_ascii_lowercase(), &marker.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_buildpack_has_markers() {
        for name in builtin_names() {
            assert!(
                lines(&format!("{name}/{MARKERS}")).is_some_and(|lines| !lines.is_empty()),
                "{name}"
            );
        }
    }

    #[test]
    fn misspelt_markers_are_found() {
        let meant = |found: &str| misspelt_markers([found]).pop().map(|near| near.marker);
        for (marker, _) in markers() {
            assert_eq!(
                meant(&marker.to_uppercase())
                    .as_deref()
                    .map(str::to_lowercase),
                Some(marker.to_lowercase())
            );
        }
        assert_eq!(
            meant("requirement.txt").as_deref(),
            Some("requirements.txt")
        );
        assert_eq!(meant("Package.json").as_deref(), Some("package.json"));
        assert_eq!(meant("pakcage.json").as_deref(), Some("package.json"));
        for name in ["README.md", "src", "Makefile", "a", "x.py", "package"] {
            assert_eq!(meant(name), None, "{name}");
        }
    }
}
