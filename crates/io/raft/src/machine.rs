//! What the log is applied to.

/// A deterministic state that a log of commands is applied to. The adapter owns it and calls it in the log's order, from one
/// task at a time.
pub trait Machine: Send + 'static {
    /// What applying a command answers. It is not replicated: only who proposed the command at this node hears it.
    type Answer: Send + Sync + 'static;

    /// Applies a committed command. Total and deterministic: every voter is given the same commands in the same order and
    /// must come to the same state.
    fn apply(&mut self, command: &[u8]) -> Self::Answer;

    /// The state as it is now. Taking it is to be cheap, because it stops the log; the function it answers makes bytes of it
    /// and runs on a thread where it may block.
    fn image(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send>;

    /// Puts the state of an image in the place of this one.
    ///
    /// # Errors
    /// A sentence, if these bytes are no image; the state is then as it was.
    fn restore(&mut self, image: &[u8]) -> Result<(), String>;
}
