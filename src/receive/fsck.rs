//! The form of commits and tags, line by line, as `git index-pack --strict` wants it.
//!
//! What git calls an error is one; what it lets pass as a warning or a remark (a missing tagger, an
//! odd tag name, a NUL in a message) passes, since published history has it.
//!
//! Source: git's fsck.c, `fsck_commit`, `fsck_tag_standalone`, `fsck_ident`.

use gix::ObjectId;
use gix::bstr::ByteSlice as _;
use gix::objs::Kind;

/// What a commit names.
pub(super) struct Commit {
    pub tree: ObjectId,
    pub parents: Vec<ObjectId>,
}

/// What a tag names.
pub(super) struct Tag {
    pub target: ObjectId,
    pub kind: Kind,
}

/// Reads a commit.
///
/// # Errors
/// Its form is not git's.
pub(super) fn commit(data: &[u8], hash: gix::hash::Kind) -> Result<Commit, &'static str> {
    check_headers(data)?;
    let rest = data.strip_prefix(b"tree ").ok_or("it has no tree")?;
    let (tree, mut rest) = take_id(rest, hash).ok_or("its tree is no object id")?;
    let mut parents = Vec::new();
    while let Some(after) = rest.strip_prefix(b"parent ") {
        let (parent, after) = take_id(after, hash).ok_or("a parent is no object id")?;
        parents.push(parent);
        rest = after;
    }
    let mut authors = 0;
    while let Some(after) = rest.strip_prefix(b"author ") {
        rest = take_ident(after)?;
        authors += 1;
    }
    match authors {
        0 => return Err("it has no author"),
        1 => {}
        _ => return Err("it has several authors"),
    }
    let rest = rest.strip_prefix(b"committer ");
    take_ident(rest.ok_or("it has no committer")?)?;
    Ok(Commit { tree, parents })
}

/// Reads a tag.
///
/// # Errors
/// Its form is not git's.
pub(super) fn tag(data: &[u8], hash: gix::hash::Kind) -> Result<Tag, &'static str> {
    check_headers(data)?;
    let rest = data.strip_prefix(b"object ").ok_or("it has no object")?;
    let (target, rest) = take_id(rest, hash).ok_or("its object is no object id")?;
    let rest = rest.strip_prefix(b"type ").ok_or("it has no type")?;
    let (kind, rest) = rest.split_once_str("\n").ok_or("its type has no end")?;
    let kind = Kind::from_bytes(kind).map_err(|_| "its type is unknown")?;
    let rest = rest.strip_prefix(b"tag ").ok_or("it has no name")?;
    let (_, rest) = rest.split_once_str("\n").ok_or("its name has no end")?;
    // The first tags of git had no tagger.
    if let Some(tagger) = rest.strip_prefix(b"tagger ") {
        take_ident(tagger)?;
    }
    Ok(Tag { target, kind })
}

/// Requires that the headers end, and hold no NUL before that.
fn check_headers(data: &[u8]) -> Result<(), &'static str> {
    let end = data.find(b"\n\n").unwrap_or(data.len());
    if data[..end].contains(&0) {
        return Err("a header has a NUL");
    }
    if end == data.len() && data.last() != Some(&b'\n') {
        return Err("its headers do not end");
    }
    Ok(())
}

/// An id and the end of its line.
fn take_id(data: &[u8], hash: gix::hash::Kind) -> Option<(ObjectId, &[u8])> {
    let (hex, rest) = data.split_at_checked(hash.len_in_hex())?;
    // git takes capitals, too.
    let id = ObjectId::from_hex(hex).ok()?;
    Some((id, rest.strip_prefix(b"\n")?))
}

/// A person and a date, up to the end of the line: `Name <email> seconds +hhmm`.
fn take_ident(data: &[u8]) -> Result<&[u8], &'static str> {
    let (line, rest) = match data.find_byte(b'\n') {
        Some(end) => data.split_at(end + 1),
        None => (data, &[][..]),
    };
    let mark = |line: &[u8]| line.find_byteset(b"<>\n").unwrap_or(line.len());
    let open = mark(line);
    match line.get(open) {
        Some(b'<') if open == 0 => return Err("a person has no name before the email"),
        Some(b'<') => {}
        Some(b'>') => return Err("a person's name has a >"),
        _ => return Err("a person has no email"),
    }
    if line[open - 1] != b' ' {
        return Err("a person's name and email are not separated by a space");
    }
    let email = &line[open + 1..];
    let close = mark(email);
    if email.get(close) != Some(&b'>') {
        return Err("a person's email does not end");
    }
    let time = email[close + 1..].strip_prefix(b" ");
    check_date(time.ok_or("a date is not separated by a space")?)?;
    Ok(rest)
}

/// Seconds and a time zone, up to the end of the line.
fn check_date(date: &[u8]) -> Result<(), &'static str> {
    let date = date.trim_start_with(|c| c == ' ' || c == '\t');
    let digits = date.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (seconds, zone) = date.split_at(digits);
    if digits == 0 {
        return Err("a date is no number");
    }
    if seconds[0] == b'0' && date.get(1) != Some(&b' ') {
        return Err("a date starts with zeros");
    }
    let number = std::str::from_utf8(seconds)
        .ok()
        .and_then(|text| text.parse::<i64>().ok());
    if number.is_none() {
        return Err("a date is too late");
    }
    match zone {
        [b' ', b'+' | b'-', a, b, c, d, b'\n']
            if [a, b, c, d].iter().all(|x| x.is_ascii_digit()) =>
        {
            Ok(())
        }
        [b' ', ..] => Err("a time zone is not four digits with a sign"),
        _ => Err("a date is no number"),
    }
}

#[cfg(test)]
mod tests {
    use gix::hash::Kind::Sha1;

    use super::*;

    fn commit(data: &[u8]) -> Result<Commit, &'static str> {
        super::commit(data, Sha1)
    }

    fn tag(data: &[u8]) -> Result<Tag, &'static str> {
        super::tag(data, Sha1)
    }

    const ID: &str = "1111111111111111111111111111111111111111";

    fn of_ident(ident: &str) -> Result<(), &'static str> {
        let text = format!("tree {ID}\nauthor {ident}\ncommitter A <a@b> 1 +0000\n\nx\n");
        commit(text.as_bytes()).map(|_| ())
    }

    #[test]
    fn people_are_as_git_writes_them() {
        for good in [
            "A <a@b> 1 +0000",
            "A B <> 0 -1200",
            " <a@b> 1 +0000",
            "A <a b> 9223372036854775807 +9999",
            "A <a>  \t1 +0000",
            "\u{fe}\u{fe} <x> 1 +0000",
        ] {
            of_ident(good).unwrap();
        }
        for bad in [
            "",
            "A",
            "<a@b> 1 +0000",
            "A<a@b> 1 +0000",
            "A> <a@b> 1 +0000",
            "A <a@b 1 +0000",
            "A <a<b> 1 +0000",
            "A <a@b>1 +0000",
            "A <a@b> +0000",
            "A <a@b> -1 +0000",
            "A <a@b> 01 +0000",
            "A <a@b> 00 +0000",
            "A <a@b> 9223372036854775808 +0000",
            "A <a@b> 99999999999999999999999 +0000",
            "A <a@b> 1x +0000",
            "A <a@b> 1",
            "A <a@b> 1 0000",
            "A <a@b> 1 +000",
            "A <a@b> 1 +00000",
            "A <a@b> 1 +0000 ",
        ] {
            assert!(of_ident(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_come_in_their_order() {
        let who = "A <a@b> 1 +0000";
        let people = format!("author {who}\ncommitter {who}\n");
        let good = format!("tree {ID}\nparent {ID}\nparent {ID}\n{people}gpgsig x\n y\n\na\0b");
        assert_eq!(
            commit(good.as_bytes()).map(|found| found.parents.len()),
            Ok(2)
        );
        assert!(commit(format!("tree {ID}\n{people}").as_bytes()).is_ok());
        for bad in [
            String::new(),
            format!("tree {ID} \n{people}\n"),
            format!("tree {}\n{people}\n", &ID[1..]),
            format!("parent {ID}\ntree {ID}\n{people}\n"),
            format!("tree {ID}\nparent x\n{people}\n"),
            format!("tree {ID}\ncommitter {who}\nauthor {who}\n\n"),
            format!("tree {ID}\nauthor {who}\n{people}\n"),
            format!("tree {ID}\nauthor {who}\n\n"),
            format!("tree {ID}\n{people}x\0y\n\n"),
            format!("tree {ID}\n{people}x"),
        ] {
            assert!(commit(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let good = format!("object {ID}\ntype commit\ntag v1\ntagger {who}\n\nx\n");
        assert!(tag(good.as_bytes()).is_ok());
        assert!(tag(format!("object {ID}\ntype blob\ntag v 1\n").as_bytes()).is_ok());
        for bad in [
            format!("type commit\ntag v1\ntagger {who}\n\nx\n"),
            format!("object {ID}\ntag v1\ntagger {who}\n\nx\n"),
            format!("object {ID}\ntype thing\ntag v1\n\nx\n"),
            format!("object {ID}\ntype commit\ntagger {who}\n\nx\n"),
            format!("object {ID}\ntype commit\ntag v1\ntagger A\n\nx\n"),
        ] {
            assert!(tag(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
