internal import Secrets

/// What PSK identities stand for, as far as it was looked up or minted lately.
///
/// SIMs' own identities lie apart from all others: every bootstrap mints a one-time identity, and a flood of strangers
/// brings any number of unknown ones; neither may push the SIMs out, each of which would cost a look-up in the store.
struct IdentityMemory {
    private var own: ResolutionCache<PSKIdentity, IdentityResolution>
    private var others: ResolutionCache<PSKIdentity, IdentityResolution>

    /// - Parameter capacity: entries of each generation of either part.
    init(capacity: Int) {
        self.own = ResolutionCache(capacity: capacity)
        self.others = ResolutionCache(capacity: capacity)
    }

    mutating func value(for identity: PSKIdentity) -> IdentityResolution? {
        self.own.value(for: identity) ?? self.others.value(for: identity)
    }

    mutating func insert(_ resolution: IdentityResolution, for identity: PSKIdentity) {
        if case .bootstrap = resolution {
            self.others.remove(identity)
            self.own.insert(resolution, for: identity)
        } else {
            self.own.remove(identity)
            self.others.insert(resolution, for: identity)
        }
    }

    mutating func remove(_ identity: PSKIdentity) {
        self.own.remove(identity)
        self.others.remove(identity)
    }

    mutating func removeAll(where isStale: (IdentityResolution) -> Bool) {
        self.own.removeAll(where: isStale)
        self.others.removeAll(where: isStale)
    }

    mutating func removeAll() {
        self.own.removeAll()
        self.others.removeAll()
    }
}
