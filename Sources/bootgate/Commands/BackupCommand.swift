internal import ArgumentParser
internal import Foundation
internal import Records

/// `bootgate backup DIR`.
struct BackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup",
        abstract: "Copy the stores and the journal to a new folder, while a gateway runs or not.",
        discussion: """
            The copy can take the place of `state` as it is. Key files are not in it unless --with-keys asks for them: the \
            stores cannot be read without the records key, and who has both has all keys.
            """
    )

    @Argument(help: "A folder that does not exist yet, or is empty.") var folder: String
    @Flag(help: "Copy the key files into the folder `keys` as well.") var withKeys = false
    @OptionGroup var config: ConfigurationOption

    func run() async throws {
        let configuration = try self.config.load()
        let keys = Self.files([configuration.records.key])
        let signingKeys = Self.files([configuration.audit.signingKey])
        let backup = Backup(state: configuration.state, to: self.folder)
        let summary = try reporting {
            guard self.withKeys else { return try backup.run() }
            return try backup.run(
                keys: Self.present(keys), signingKeys: Self.present(signingKeys + signingKeys.map { $0 + ".pub" })
            )
        }
        Terminal.say("\(summary.files.count) files, \(summary.bytes) bytes in \(self.folder)")
        if self.withKeys {
            Terminal.complain("the keys are in it: keep it where nobody else can read it")
            for (path, name) in Backup.names(keys: Self.present(keys), signingKeys: Self.present(signingKeys))
            where !path.hasSuffix("/" + name) {
                Terminal.complain("\(path) is keys/\(name) in it: the other key has the same name")
            }
        } else if !(keys + signingKeys).isEmpty {
            let all = (keys + signingKeys).joined(separator: ", ")
            Terminal.complain("not in it: \(all); keep copies of them in another place")
        }
        Terminal.complain("not in it: the configuration \(self.config.path), and other files that it names")
        for source in [configuration.records.key, configuration.audit.signingKey] {
            if case .environment(let name) = source {
                Terminal.complain("not in it: the key in the environment variable \(name)")
            }
        }
    }

    private static func files(_ sources: [SecretSource]) -> [String] {
        sources.compactMap { source in if case .file(let path) = source { path } else { nil } }
    }

    private static func present(_ paths: [String]) -> [String] {
        paths.filter { FileManager.default.fileExists(atPath: $0) }
    }
}
