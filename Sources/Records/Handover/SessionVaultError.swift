/// Why sessions were not handed from one start of the gateway to the next. Never a reason not to start: the devices shake
/// hands again.
package struct SessionVaultError: Error, Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable {
        /// The file was taken before: this is a copy.
        case usedAlready
        /// The file belongs to other stores, or to these as a backup has brought them back.
        case otherStore
        /// The file is that of another node.
        case otherNode
        /// Another wolfSSL has written the sessions, and no other one can read them.
        case otherLibrary
        /// Another version of the program has written the file.
        case otherFormat
        /// The devices have long given up.
        case tooOld
        /// The file was changed, cut, or sealed with another records key.
        case damaged
        /// Others than the gateway's user could read the file.
        case exposed
        /// There is more in it than any gateway has sessions.
        case tooLarge
        /// The runtime directory is missing, cannot be written, or is the wrong one.
        case directory
        /// The file itself cannot be read or written.
        case file
        /// `credentials.db` could not say, or not write down, which file is valid.
        case store
    }

    package let kind: Kind
    /// What happened, as a clause without a full stop.
    package let what: String
    /// What to do, or what follows, as a clause without a full stop.
    package let remedy: String

    init(_ kind: Kind, _ what: String, remedy: String = Self.nothingLost) {
        self.kind = kind
        self.what = what
        self.remedy = remedy
    }

    static let nothingLost = "the devices shake hands again"

    /// A refusal of the operating system about the runtime directory.
    static func directory(_ what: String, _ code: Int32) -> SessionVaultError {
        SessionVaultError(
            .directory, "\(what): \(errorText(code))",
            remedy: "make the runtime directory and give it to the gateway's user, or let systemd do it with "
                + "`RuntimeDirectory=bootgate`"
        )
    }
}

extension SessionVaultError: CustomStringConvertible {
    package var description: String { "\(self.what); \(self.remedy)" }
}
