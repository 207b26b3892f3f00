/// Where a probe stopped, and what that says of the gateway.
struct ProbeFailure: Error, Equatable {
    /// What the probe was doing, in the order in which it does it.
    enum Step: String {
        case resolve, handshake, bootstrap, connect, register, deregister
    }

    let step: Step
    /// One line: what was seen.
    let cause: String
    /// One line: where to look.
    let remedy: String
    /// ``ExitStatus/notPermitted`` when the gateway lives and says no; ``ExitStatus/unavailable`` for everything else.
    let status: ExitStatus

    init(_ step: Step, _ cause: String, remedy: String, status: ExitStatus = .unavailable) {
        self.step = step
        self.cause = cause
        self.remedy = remedy
        self.status = status
    }
}
