package import LwM2M
package import Secrets

/// A write as it goes on to the device: nothing in it is upstream's bytes where accounts are concerned.
package struct RewrittenWrite: Sendable, Equatable {
    /// Spelled anew from what was parsed.
    package var path: LwM2MPath
    /// The number that upstream used.
    package var contentFormat: UInt16?
    /// May hold keys: never logged (T44).
    package var payload: [UInt8]
    /// One for each instance of object 0 in the write, in its order.
    package var accounts: [AccountChange]
    /// Instances of object 1 in the write, by short server ID.
    package var serverInstances: [UInt16: UInt16] = [:]
}

extension RewrittenWrite: CustomStringConvertible, CustomReflectable {
    package var description: String { "\(self.path), \(self.payload.count) bytes, \(self.accounts.count) accounts" }
    package var customMirror: Mirror { Mirror(self, children: ["path": self.path, "accounts": self.accounts]) }
}

/// What became of one account, for the audit journal and the demo.
package struct AccountChange: Sendable, Equatable {
    package var instanceID: UInt16
    package var isBootstrapServer: Bool
    /// As written upstream; nil on a bootstrap account without one.
    package var shortServerID: UInt16?
    /// Name of the entry in `servers` that decided; nil for the bootstrap account and for an account that was kept.
    package var server: String?
    package var before: AccountSummary
    package var after: AccountSummary
    /// What the registration leg shows to the server, where its rule says `relay.credentials: written`: set for devices
    /// over DTLS and for plain ones alike. Never part of what goes to the device.
    package var written: UpstreamAccount?
}

/// One account in the words of the audit journal.
package struct AccountSummary: Sendable, Equatable {
    /// At most 255 characters of ASCII; every other byte stands as `?`.
    package var uri: String
    /// `PSK`, `NoSec` and so on.
    package var securityMode: String
    /// The PSK identity, shortened. Nil when there is none, or the mode has none.
    package var identity: String?
    /// Nil when there is none. For its fingerprint only.
    package var key: Secret?

    /// - Parameter uri: the account's, as it stands there.
    init(_ account: SecurityAccount, uri: String) {
        func isPrintable(_ byte: UInt8) -> Bool { byte &- 0x20 < 0x7F - 0x20 }
        var text = uri
        if uri.utf8.count <= 255, text.withUTF8({ $0.allSatisfy(isPrintable) }) {
            self.uri = uri
        } else {
            let printable = uri.utf8.prefix(255).map { isPrintable($0) ? $0 : UInt8(ascii: "?") }
            self.uri = String(decoding: printable, as: UTF8.self)
        }
        self.securityMode = account.securityMode.name
        if account.securityMode == .preSharedKey, let bytes = account.publicKeyOrIdentity, !bytes.isEmpty {
            self.identity = PSKIdentity(bytes)?.description ?? "\(bytes.count) bytes"
        }
        if let key = account.secretKey, key.count > 0 { self.key = key }
    }
}

/// Why a write does not go on to the device, and what upstream is told.
package struct RewriteRefusal: Error, Sendable, Equatable {
    /// CoAP response code for upstream.
    package var code: UInt8
    package var cause: FailureCause
    /// For the operator: whose doing it is and what to do. Holds no values but URIs, names and numbers.
    package var message: String
    /// The write was part of an account: unless it is repeated with success, a Finish must get 4.06 (T42).
    package var isAccount: Bool

    /// 4.00
    package static let badRequest: UInt8 = 0x80
    /// 4.05
    package static let methodNotAllowed: UInt8 = 0x85
    /// 4.15
    package static let unsupportedContentFormat: UInt8 = 0x8F
    /// 5.00
    package static let internalError: UInt8 = 0xA0
    /// 5.01
    package static let notImplemented: UInt8 = 0xA1
}

extension RewriteRefusal {
    /// A payload that cannot be read. A format that has no document for this level is as good as one that nobody knows.
    static func undecodable(_ error: PayloadError, _ format: ContentFormat, at path: LwM2MPath) -> RewriteRefusal {
        switch error.reason {
        case .unsupportedFormat, .unsupportedLevel: .unsupportedFormat(format, at: path)
        default:
            .malformed(
                "upstream's payload for \(path) is no valid \(format.name): \(error)",
                isAccount: path.objectID.map { $0 <= 1 } ?? false
            )
        }
    }

    static func unsupportedFormat(_ format: ContentFormat?, at path: LwM2MPath) -> RewriteRefusal {
        RewriteRefusal(
            code: Self.unsupportedContentFormat, cause: .unsupported,
            message:
                "upstream writes \(path) with \(format.map { "content format \($0.name)" } ?? "no content format"), "
                + "which cannot be read there; let it use TLV (\(ContentFormat.tlv)) or SenML",
            isAccount: path.objectID.map { $0 <= 1 } ?? false
        )
    }

    static func malformed(_ message: String, isAccount: Bool = true) -> RewriteRefusal {
        RewriteRefusal(code: Self.badRequest, cause: .upstreamMalformed, message: message, isAccount: isAccount)
    }

    static func noRoute(_ message: String) -> RewriteRefusal {
        RewriteRefusal(code: Self.badRequest, cause: .noRouteForServer, message: message, isAccount: true)
    }

    static func limit(_ message: String) -> RewriteRefusal {
        RewriteRefusal(code: Self.badRequest, cause: .limit, message: message, isAccount: true)
    }

    static func notAllowed(_ message: String, isAccount: Bool) -> RewriteRefusal {
        RewriteRefusal(code: Self.methodNotAllowed, cause: .unsupported, message: message, isAccount: isAccount)
    }

    static func broken(_ message: String) -> RewriteRefusal {
        RewriteRefusal(code: Self.internalError, cause: .internal, message: message, isAccount: true)
    }
}
