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
        let keys = [configuration.records.key, configuration.audit.signingKey].compactMap { source in
            if case .file(let path) = source { path } else { nil }
        }
        let present = (keys + [(keys.last ?? "") + ".pub"]).filter { FileManager.default.fileExists(atPath: $0) }
        let backup = Backup(state: configuration.state, to: self.folder)
        let summary = try reporting { try backup.run(keys: self.withKeys ? present : []) }
        Terminal.say("\(summary.files.count) files, \(summary.bytes) bytes in \(self.folder)")
        if self.withKeys {
            Terminal.complain("the keys are in it: keep it where nobody else can read it")
        } else if !keys.isEmpty {
            Terminal.complain("not in it: \(keys.joined(separator: ", ")); keep copies of them in another place")
        }
        Terminal.complain("not in it: the configuration \(self.config.path), and other files that it names")
        for source in [configuration.records.key, configuration.audit.signingKey] {
            if case .environment(let name) = source {
                Terminal.complain("not in it: the key in the environment variable \(name)")
            }
        }
    }
}
