internal import Synchronization

/// How long credentials and grants live, as the configuration says at the moment: shared by all that look at them.
final class LifetimePolicy: Sendable {
    private let lifetimes: Mutex<CredentialLifetimes>

    init(_ lifetimes: CredentialLifetimes) { self.lifetimes = Mutex(lifetimes) }

    var current: CredentialLifetimes { self.lifetimes.withLock { $0 } }

    func set(_ lifetimes: CredentialLifetimes) { self.lifetimes.withLock { $0 = lifetimes } }
}

extension Records {
    /// From now on credentials live as long as this says, those that were minted before as well.
    package func adopt(_ lifetimes: CredentialLifetimes) { self.lifetimes.set(lifetimes) }
}
