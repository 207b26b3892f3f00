internal import NIOCore

/// An actor that is pinned to an event loop: the loop is its executor.
protocol LoopActor: Actor {
    nonisolated var loop: any EventLoop { get }
}

extension LoopActor {
    /// Enters the actor from code that runs on its loop: `assumeIsolated(_:)` for what happens with every datagram.
    ///
    /// `assumeIsolated(_:)` asks the concurrency runtime twice for the current executor and allocates two closure contexts,
    /// 170 ns in all; a bootstrap enters actors fifty times. This takes 20 ns: it compares threads, and `body` captures
    /// nothing. What it needs comes in `argument`, a tuple for more than one value.
    ///
    /// - Parameter body: must not capture; a capture would be allocated with each call.
    @inline(__always)
    nonisolated func enter<Argument, Result>(
        _ argument: Argument, _ body: @escaping @Sendable (isolated Self, Argument) -> Result
    ) -> Result {
        // Proves the same as asking for the executor: only this loop runs the actor's jobs, and only on its thread.
        self.loop.preconditionInEventLoop()
        // Takes the isolation off the type, as `assumeIsolated(_:)` does it: an isolated parameter is passed like any other.
        return unsafeBitCast(body, to: (@Sendable (Self, Argument) -> Result).self)(self, argument)
    }
}

extension [UInt8] {
    /// `withUnsafeBytes(_:)` for actors. A closure that reaches into an actor and goes to a module without the checks of
    /// Swift 6, as the standard library is, asks the runtime for its executor with each call: 400 instructions, twenty times
    /// a bootstrap. This module has the checks, so a closure that comes here does not ask.
    @inline(__always)
    func withBytes(_ body: (UnsafeRawBufferPointer) -> Void) {
        self.withUnsafeBytes { body($0) }
    }
}
