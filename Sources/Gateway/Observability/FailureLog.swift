package import Logging
internal import NIOConcurrencyHelpers
package import Timing

/// Tells the operator of failures: who caused it, what happened, and what to do; a few lines a second at most.
///
/// A flood of failures would otherwise write a flood of lines. Each cause has its own budget, so that a rare failure is
/// not lost among frequent ones; what was left out is counted and said with the next line of that cause.
package struct FailureLog: Sendable {
    /// Lines of one cause within one window.
    static let linesPerWindow = 5
    static let window = Duration.seconds(10)

    private let logger: Logger
    private let budgets = NIOLockedValueBox<[FailureCause: Budget]>([:])
    private let isTerse = NIOLockedValueBox(false)

    struct Budget {
        var windowEnds: Instant
        var left: Int
        var suppressed = 0
    }

    package init(logger: Logger) { self.logger = logger }

    package func report(
        _ cause: FailureCause, iccid: String?, peer: PeerAddress?, now: Instant
    ) {
        let isTerse = self.isTerse.withLockedValue { $0 }
        let spent = self.budgets.withLockedValue {
            Self.spend(&$0, cause, lines: isTerse ? 0 : Self.linesPerWindow, now: now)
        }
        guard let suppressed = spent else { return }
        var metadata: Logger.Metadata = [
            "cause": "\(cause.rawValue)", "source": "\(cause.source.rawValue)", "remedy": "\(cause.remedy)",
        ]
        if let iccid, !SIMRecord.isStranger(iccid) { metadata["iccid"] = "\(iccid)" }
        if let peer { metadata["peer"] = "\(peer)" }
        if suppressed > 0 { metadata["suppressed"] = "\(suppressed)" }
        self.logger.log(level: cause.source == .gateway ? .error : .warning, "request failed", metadata: metadata)
    }

    /// True: no lines of single devices from now on; they are counted for ``sumUp()``. False: they are summed up a last
    /// time, for nobody knows when a cause comes up again.
    package func setTerse(_ isTerse: Bool) {
        if !isTerse { self.sumUp() }
        self.isTerse.withLockedValue { $0 = isTerse }
    }

    /// While no single lines are written: one line for each cause that has come up since the last call.
    package func sumUp() {
        guard self.isTerse.withLockedValue({ $0 }) else { return }
        let counts = self.budgets.withLockedValue { budgets in
            let counts = budgets.compactMap { $0.value.suppressed > 0 ? ($0.key, $0.value.suppressed) : nil }
            for (cause, _) in counts { budgets[cause]?.suppressed = 0 }
            return counts
        }
        for (cause, count) in counts.sorted(by: { $0.0.rawValue < $1.0.rawValue }) {
            self.logger.warning(
                "requests failed",
                metadata: [
                    "cause": "\(cause.rawValue)", "source": "\(cause.source.rawValue)", "count": "\(count)",
                    "remedy": "\(cause.remedy)",
                ])
        }
    }

    /// Nil when the line is left out; otherwise how many were left out before it.
    static func spend(
        _ budgets: inout [FailureCause: Budget], _ cause: FailureCause, lines: Int = Self.linesPerWindow, now: Instant
    ) -> Int? {
        var budget = budgets[cause] ?? Budget(windowEnds: now.advanced(by: Self.window), left: Self.linesPerWindow)
        defer { budgets[cause] = budget }
        if budget.windowEnds <= now {
            budget.windowEnds = now.advanced(by: Self.window)
            budget.left = Self.linesPerWindow
        }
        guard min(budget.left, lines) > 0 else {
            budget.suppressed += 1
            return nil
        }
        budget.left -= 1
        defer { budget.suppressed = 0 }
        return budget.suppressed
    }
}

extension FailureCause {
    /// What the operator can do about it.
    package var remedy: String {
        switch self {
        case .unauthorized:
            "add the source address to the SIM's `address`, or let the device come over DTLS"
        case .endpointMismatch:
            "correct `endpoint` of the SIM record, or set its `endpoint-policy` to replace"
        case .unknownIdentity: "add a SIM record with this identity, or correct the device's identity"
        case .wrongKey: "compare the key of the SIM record with the device's; `bootgate sim set ICCID key=…` changes it"
        case .suspended: "`bootgate sim resume ICCID` lets it in again"
        case .backOff:
            "compare the key of the SIM record with the device's; until then this identity has to wait at this address, and "
                + "nowhere else"
        case .retired: "the SIM is retired; add it anew if that was a mistake"
        case .removed: "the SIM has no record any more; add it anew if that was a mistake"
        case .revoked: "nothing: the device bootstraps again"
        case .notBootstrapped, .credentialEnded:
            "nothing, if the device bootstraps again after its 4.03; if it goes on as before, start its bootstrap by hand"
        case .noRouteForServer: "add an entry to `servers` that matches the account, with the form of `device` it needs"
        case .upstreamUnreachable: "start the server behind the gateway, or correct its address"
        case .upstreamSilent: "see whether the server behind the gateway answers, and whether a firewall drops its port"
        case .upstreamRefused: "look at the server's own log: it refused this device"
        case .upstreamHandshake:
            "compare identity and key (of the upstream, the relay or the SIM record) with what the server knows, and its "
                + "suites with `dtls.suites`"
        case .deviceUnreachable: "the device stopped answering: look at its radio link, NAT or power"
        case .deviceRefused: "look at the device's log: it refused what the server wrote"
        case .finishRefused: "the device found its configuration incomplete: compare what the server writes"
        case .superseded: "nothing: the device asked again"
        case .publicationRefused:
            "look at the server's log; compare `publish` of this server with what it expects, and its token"
        case .publicationUnreachable: "start the server, or correct the address, the certificates or the firewall"
        case .publicationSilent: "see why the server takes so long, or raise `publish.timeout`"
        case .malformed: "update the device: its message breaks the protocol"
        case .upstreamMalformed: "look at what the bootstrap server writes: the journal names the path and the reason"
        case .unsupported: "the request needs a part that this version does not have"
        case .storeUnavailable: "look at the disk and the files under `state`"
        case .lifetimeOver: "the device did not renew its registration in time: look at its radio link or power"
        case .portTaken:
            "nothing: the device registers again; keep other programs away from the range of ports, or give the gateway "
                + "addresses of its own with `pool.from`"
        case .limit: "raise the limit that is reached, or add capacity"
        case .listenerRemoved:
            "nothing, if devices are told another address; otherwise name the address in `listeners` again and reload"
        case .shutdown: "nothing: the gateway is stopping"
        case .internal: "report this with the log"
        }
    }
}
