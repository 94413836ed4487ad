//! Objects that deltas may build on, as many as fit: those that were used last.

use std::collections::HashMap;

/// Bytes of one of the two halves.
const HALF_BYTES: usize = 4 << 20;

/// Two halves: what is used goes into the young one, and when that is full it becomes the old one.
pub(super) struct Cache<K> {
    young: HashMap<K, Vec<u8>>,
    old: HashMap<K, Vec<u8>>,
    young_bytes: usize,
}

impl<K: std::hash::Hash + Eq + Copy> Cache<K> {
    pub fn new() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            young_bytes: 0,
        }
    }

    pub fn get(&mut self, key: K) -> Option<&Vec<u8>> {
        if let Some(data) = self.old.remove(&key) {
            self.insert(key, data);
        }
        self.young.get(&key)
    }

    /// Keeps an object; not one that would displace too many others.
    pub fn insert(&mut self, key: K, data: Vec<u8>) {
        // What a map's entry takes besides, roughly.
        let bytes = data.len() + 64;
        if bytes > HALF_BYTES / 2 {
            return;
        }
        if self.young_bytes + bytes > HALF_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        self.young.insert(key, data);
    }

    pub fn clear(&mut self) {
        *self = Self::new();
    }
}
