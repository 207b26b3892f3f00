/// One thing that happened and that the audit journal keeps.
///
/// The data path makes these; the journal gives them their sequence number, chains and signs them. Nothing secret goes
/// in: a key is named by its fingerprint, the first 8 hexadecimal digits of its SHA-256.
package struct AuditEvent: Sendable, Equatable {
    /// The names as they stand in the journal.
    package enum Name: String, Sendable, CaseIterable {
        case bootstrapRequested = "bootstrap.requested"
        case bootstrapRefused = "bootstrap.refused"
        case bootstrapForwarded = "bootstrap.forwarded"
        case bootstrapWritten = "bootstrap.written"
        case bootstrapFinished = "bootstrap.finished"
        case bootstrapFailed = "bootstrap.failed"
        case credentialMinted = "credential.minted"
        case credentialActive = "credential.active"
        case credentialReplaced = "credential.replaced"
        case credentialRevoked = "credential.revoked"
        case credentialPublished = "credential.published"
        case registrationOpened = "registration.opened"
        case registrationRefused = "registration.refused"
        case registrationClosed = "registration.closed"
        case simChanged = "sim.changed"
        case gatewayStarted = "gateway.started"
        case gatewayReloaded = "gateway.reloaded"
        case gatewayStopped = "gateway.stopped"
        /// The level of overload has changed; `detail` says from what, to what and by which measure.
        case gatewayOverload = "gateway.overload"
        /// A torn last line was cut when the journal was opened.
        case journalRecovered = "journal.recovered"
        /// Records that came while the disk took none were given up; `detail` counts them.
        case journalLost = "journal.lost"
        /// Retention takes old segments away; `detail` says which records go.
        case journalPruned = "journal.pruned"
        /// The copy to syslog lost messages; `detail` counts them.
        case journalCopyLost = "journal.copy-lost"
    }

    /// A value of `detail`. Texts may come from the network: the journal escapes them.
    package enum Value: Sendable, Equatable {
        case text(String)
        case integer(Int64)
        case boolean(Bool)
        case list([Value])
        case object([Field])
        /// A list of objects, one for each step of a ``Timeline``; `servers` names those that may be asked.
        case steps([Timeline.Step], servers: [String])
    }

    package struct Field: Sendable, Equatable {
        package var key: String
        package var value: Value

        package init(_ key: String, _ value: Value) {
            self.key = key
            self.value = value
        }
    }

    package var name: Name
    /// UTC, microseconds since 1970.
    package var time: Int64
    package var cause: FailureCause?
    package var iccid: String?
    package var endpoint: String?
    /// Address and port of the device, `192.0.2.1:49152` or `[2001:db8::1]:49152`.
    package var peer: String?
    /// URI of the upstream server.
    package var upstream: String?
    /// Names one device session within this run of the gateway.
    package var session: UInt64?
    package var detail: [Field]

    package init(
        _ name: Name, time: Int64, cause: FailureCause? = nil, iccid: String? = nil, endpoint: String? = nil,
        peer: String? = nil, upstream: String? = nil, session: UInt64? = nil, detail: [Field] = []
    ) {
        self.name = name
        self.time = time
        self.cause = cause
        self.iccid = iccid
        self.endpoint = endpoint
        self.peer = peer
        self.upstream = upstream
        self.session = session
        self.detail = detail
    }
}

/// Where the data path leaves its audit events. `Records` implements it with the journal.
package protocol AuditSink: Sendable {
    /// Takes a batch in order and returns at once; the writing happens elsewhere.
    func record(_ events: [AuditEvent])

    /// Returns when everything that was recorded before is on disk, and throws when the disk does not take it. Calls that
    /// come together share one flush.
    func synchronize() async throws
}

extension AuditSink {
    /// For sinks that keep nothing.
    package func synchronize() async throws {}
}
