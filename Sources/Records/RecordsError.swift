package import Gateway

/// Why a store, a key file or the audit journal could not do what was asked: whose fault it is, what happened and what
/// to do about it. The text never holds a key, a cell of an import file that may be a key, or a whole identity.
package struct RecordsError: Error, Sendable, Equatable {
    /// What kind of trouble it is; the command makes its exit code of it.
    package enum Kind: Sendable, Equatable {
        /// A value that is not what its field allows, or a file that is not what it should be.
        case badData
        /// No such record.
        case notFound
        /// The record, the identity or the address exists already.
        case conflict
        /// Something that is needed does not answer: the disk, a lock that another process holds.
        case unavailable
        /// A file or folder cannot be made or written.
        case cannotWrite
        /// A file may not be read, or may be read by too many.
        case notPermitted
        /// A file is not a database or a journal, or was damaged.
        case damaged
        /// The records key is not the one that the stores were made with.
        case wrongKey
        /// A newer version of the program has written the file.
        case newerSchema
        /// Another gateway uses the same state folder.
        case inUse
        /// The configuration names something that does not exist.
        case configuration
        /// A mistake in the program.
        case `internal`
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

extension RecordsError: CustomStringConvertible {
    package var description: String { self.remedy.isEmpty ? self.what : "\(self.what); \(self.remedy)" }
}
