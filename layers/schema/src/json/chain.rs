use serde_json::Value;
pub(super) fn longest<'v>(_documents: impl Iterator<Item = &'v Value>) -> usize {
    1
}
