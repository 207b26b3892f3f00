import Secrets
import Testing

@testable import DTLS

@Suite("Exported form of a session")
struct LibraryExportTests {
    /// As the library wrote it: with GCM nothing is changed, and the form is the same.
    private static func export() throws -> [UInt8] {
        var configuration = DTLSConfiguration()
        configuration.suites = [.pskAES128GCM]
        let link = try LossyLink(server: configuration, client: configuration)
        #expect(link.run(for: .seconds(5)) { $0.isEstablished })
        try link.sendFromClient([1])
        link.run(for: .seconds(1))
        return try #require(try link.server?.exportState()).export.withUnsafeBytes { Array($0) }
    }

    private static func continued(_ export: [UInt8]) -> [UInt8]? {
        var target = [UInt8](repeating: 0xEE, count: export.count + 16)
        let count = export.withUnsafeBytes { export in
            target.withUnsafeMutableBytes { LibraryExport.continueCCMNonces(export, into: $0) }
        }
        return count.map { Array(target.prefix($0)) }
    }

    @Test("The nonces go on with epoch and number of the next record, and nothing else changes")
    func continuing() throws {
        let export = try Self.export()
        let continued = try #require(Self.continued(export))
        #expect(continued.count == export.count + 16)
        #expect(continued.withUnsafeBytes { LibraryExport.isWhole($0) })
        // Epoch 1, and one record was sent: the Finished.
        let counter: [UInt8] = [0, 1, 0, 0, 0, 0, 0, 1]
        let places = (0...(continued.count - 8)).filter { Array(continued[$0..<($0 + 8)]) == counter }
        let inExport = (0...(export.count - 8)).filter { Array(export[$0..<($0 + 8)]) == counter }
        #expect(places.count == inExport.count + 1)
    }

    @Test("A form that is cut, longer or not known is not touched")
    func unknown() throws {
        let export = try Self.export()
        for count in 0..<export.count { #expect(Self.continued(Array(export[..<count])) == nil, "\(count) bytes") }
        #expect(Self.continued(export + [0]) == nil)
        for index in 0..<6 {
            var changed = export
            changed[index] ^= 0x11
            #expect(Self.continued(changed) == nil, "byte \(index)")
        }
    }

    @Test("Whatever the bytes say, nothing is read or written past the end")
    func hostile() throws {
        let export = try Self.export()
        var generator = SeededGenerator(seed: 11)
        for round in 0..<20_000 {
            var changed = export
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                changed[Int.random(in: changed.indices, using: &generator)] = .random(in: 0...255, using: &generator)
            }
            let continued = Self.continued(changed)
            #expect(continued == nil || continued?.count == changed.count + 16, "seed 11, round \(round)")
        }
    }
}
