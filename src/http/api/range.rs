//! `Range` of a list: in which order, how many, from where on. Source: the Platform API's reference on
//! ranges, and what its clients send.
//!
//! `version ..; order=desc, max=15` is answered by at most so many, with status 206 and `Next-Range`
//! where there are more. Without one a list is whole.

use std::cmp::Ordering;

use hyper::StatusCode;
use serde_json::Value;

/// Objects of one answer, and the most that can be asked for. Source: the same.
const USUAL: usize = 200;
const MOST: usize = 1000;

/// What a client wants of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    field: String,
    /// In the order of the list; the first may be left out itself.
    from: Option<(String, Without)>,
    to: Option<String>,
    descending: bool,
    max: usize,
}

/// Whether a bound itself is left out.
type Without = bool;

impl Range {
    /// Reads a header; none where nothing is asked for.
    pub fn parse(text: &str) -> Option<Self> {
        let (range, options) = text.split_once(';').unwrap_or((text, ""));
        let (field, bounds) = range.trim().split_once(' ').unwrap_or((range.trim(), ""));
        if field.is_empty() {
            return None;
        }
        let (from, to) = bounds.trim().split_once("..").unwrap_or_default();
        let (from, without) = match from.strip_prefix(']') {
            Some(from) => (from, true),
            None => (from, false),
        };
        let to = to.trim_end_matches('[');
        let mut found = Self {
            field: field.to_owned(),
            from: (!from.is_empty()).then(|| (from.to_owned(), without)),
            to: (!to.is_empty()).then(|| to.to_owned()),
            descending: false,
            max: USUAL,
        };
        for option in options.split([',', ';']) {
            match option.trim().split_once('=') {
                Some(("order", order)) => found.descending = order == "desc",
                Some(("max", max)) => found.max = max.parse().unwrap_or(USUAL).clamp(1, MOST),
                _ => {}
            }
        }
        Some(found)
    }

    /// Takes what is wanted of a list, with the header of the rest if there is one. Objects without
    /// the field stay as they are: there is no order to go on in.
    pub fn of(&self, mut list: Vec<Value>) -> (StatusCode, Vec<Value>, Option<String>) {
        if list.iter().any(|object| self.key(object).is_none()) {
            return (StatusCode::OK, list, None);
        }
        list.sort_by(|one, other| self.order(&one[&self.field], &other[&self.field]));
        // What cannot be compared is no bound.
        let is_in = |object: &Value| {
            let key = &object[&self.field];
            let place = |bound: &str| Some(self.order(key, &like(key, bound)?));
            let from = self.from.as_ref();
            let after = from.and_then(|(from, without)| Some((place(from)?, *without)));
            let is_after = after.is_none_or(|(place, without)| {
                place == Ordering::Greater || place == Ordering::Equal && !without
            });
            let before = self.to.as_deref().and_then(place);
            is_after && before != Some(Ordering::Greater)
        };
        list.retain(is_in);
        if list.len() <= self.max {
            return (StatusCode::OK, list, None);
        }
        list.truncate(self.max);
        let end = list.last().and_then(|object| self.key(object));
        let (field, to) = (&self.field, self.to.as_deref().unwrap_or_default());
        let order = if self.descending { ", order=desc" } else { "" };
        let next = end.map(|end| format!("{field} ]{end}..{to}; max={}{order}", self.max));
        (StatusCode::PARTIAL_CONTENT, list, next)
    }

    fn key(&self, object: &Value) -> Option<String> {
        match &object[&self.field] {
            Value::Number(number) => Some(number.to_string()),
            Value::String(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn order(&self, one: &Value, other: &Value) -> Ordering {
        let ascending = match (one.as_u64(), other.as_u64()) {
            (Some(one), Some(other)) => one.cmp(&other),
            _ => one.as_str().cmp(&other.as_str()),
        };
        if self.descending {
            ascending.reverse()
        } else {
            ascending
        }
    }
}

/// A bound as a value of the kind that it is compared with.
fn like(key: &Value, bound: &str) -> Option<Value> {
    if key.is_number() {
        return bound.parse::<u64>().ok().map(Value::from);
    }
    Some(Value::from(bound))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The versions of an answer, its status, and how to go on.
    fn taken(header: &str, count: u64) -> (Vec<u64>, u16, Option<String>) {
        let list = (1..=count).map(|version| json!({ "version": version, "id": "x" }));
        let (status, list, next) = Range::parse(header).unwrap().of(list.collect());
        let versions = list.iter().map(|one| one["version"].as_u64().unwrap());
        (versions.collect(), status.as_u16(), next)
    }

    #[test]
    fn a_client_pages_through_a_list() {
        let (versions, status, next) = taken("version ..; max=4, order=desc", 10);
        assert_eq!((versions, status), (vec![10, 9, 8, 7], 206));
        let next = next.unwrap();
        assert_eq!(next, "version ]7..; max=4, order=desc");
        let (versions, _, next) = taken(&next, 10);
        assert_eq!(versions, [6, 5, 4, 3]);
        assert_eq!(taken(&next.unwrap(), 10), (vec![2, 1], 200, None));
        let (versions, status, next) = taken("version 3..; max=2", 10);
        assert_eq!((versions, status), (vec![3, 4], 206));
        assert_eq!(next.unwrap(), "version ]4..; max=2");
        assert_eq!(taken("version 3..5", 10).0, [3, 4, 5]);
        assert_eq!(taken("version ..; order=desc,max=1", 12).0, [12]);
        let (versions, status, _) = taken("version ..", 201);
        assert_eq!((versions.len(), status), (200, 206));
    }

    #[test]
    fn what_clients_send_besides() {
        assert_eq!(Range::parse(""), None);
        assert_eq!(Range::parse(" ; "), None);
        // A trailing semicolon, another field, a number that is none, and one that is too much.
        assert_eq!(taken("version ..; max=2;", 3).0, [1, 2]);
        assert_eq!(taken("domain ..; ;", 3).0, [1, 2, 3]);
        assert_eq!(taken("version ..; max=x", 3).0, [1, 2, 3]);
        let (versions, status, _) = taken("version ..; max=5000", 1001);
        assert_eq!((versions.len(), status), (1000, 206));
        assert_eq!(taken("version x..", 3).0, [1, 2, 3]);
    }
}
