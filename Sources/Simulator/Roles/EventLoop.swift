internal import Glibc

/// Turns libcoap until a role is done, the time is over, or whoever started the program has gone.
struct EventLoop {
    enum End {
        case done, timeout, orphaned
    }

    let stack: CoAPStack
    let deadline: ContinuousClock.Instant
    /// The process to which this one belongs; nil lets it outlive everybody.
    let parent: pid_t?

    /// Calls `turn` after everything that happens, and at least every 20 milliseconds, until it returns true.
    func run(_ turn: (_ now: ContinuousClock.Instant) -> Bool) -> End {
        while true {
            let now = ContinuousClock.now
            if turn(now) { return .done }
            if now >= self.deadline { return .timeout }
            if let parent, getppid() != parent { return .orphaned }
            self.stack.process(milliseconds: 20)
        }
    }
}
