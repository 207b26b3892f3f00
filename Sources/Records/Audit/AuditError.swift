package import Gateway

/// Why the audit journal or its key could not do what was asked: whose fault it is, what happened and what to do about
/// it. The text never holds a key.
package struct AuditError: Error, Sendable, Equatable {
    /// What kind of trouble it is; the command makes its exit code of it.
    package enum Kind: Sendable, Equatable {
        /// A key file that is not what it should be.
        case badData
        /// A file that does not exist.
        case notFound
        /// The disk does not take or give data just now.
        case unavailable
        /// A file or folder cannot be made.
        case cannotWrite
        /// A file may not be read, or may be read by too many.
        case notPermitted
        /// A segment is not a journal, or was damaged or removed.
        case damaged
        /// Another gateway writes the same journal.
        case inUse
        /// The journal was closed before.
        case closed
    }

    package let kind: Kind
    package let source: FailureCause.Source
    /// What happened, as a clause without a full stop.
    package let what: String
    /// What to do, as a clause without a full stop.
    package let remedy: String

    package init(_ kind: Kind, source: FailureCause.Source = .operator, _ what: String, remedy: String) {
        self.kind = kind
        self.source = source
        self.what = what
        self.remedy = remedy
    }
}

extension AuditError: CustomStringConvertible {
    package var description: String { self.remedy.isEmpty ? self.what : "\(self.what); \(self.remedy)" }
}
