import Foundation
import FuzzEntries
import Testing

@Suite("Inputs that the fuzzer has kept")
struct CorpusTests {
    @Test("Every input is taken by its target without a finding", arguments: FuzzTarget.allCases)
    func corpus(target: FuzzTarget) throws {
        let inputs = try Self.inputs(of: target)
        #expect(inputs.count >= 5)
        for input in inputs {
            let bytes = try Data(contentsOf: input)
            #expect(throws: Never.self, "\(target.rawValue)/\(input.lastPathComponent)") {
                try bytes.withUnsafeBytes { try target.run($0) }
            }
        }
    }

    @Test("Inputs with a byte changed, or with their end cut off, are taken too", arguments: FuzzTarget.allCases)
    func damaged(target: FuzzTarget) throws {
        for input in try Self.inputs(of: target).prefix(40) {
            let bytes = try Array(Data(contentsOf: input))
            for place in stride(from: 0, to: bytes.count, by: max(1, bytes.count / 16)) {
                var changed = bytes
                changed[place] ^= 0x81
                for variant in [changed, Array(bytes.prefix(place))] {
                    #expect(throws: Never.self, "\(target.rawValue)/\(input.lastPathComponent), byte \(place)") {
                        try variant.withUnsafeBytes { try target.run($0) }
                    }
                }
            }
        }
    }

    @Test("Nothing at all is taken too", arguments: FuzzTarget.allCases)
    func empty(target: FuzzTarget) {
        #expect(throws: Never.self) { try target.run(UnsafeRawBufferPointer(start: nil, count: 0)) }
    }

    private static func inputs(of target: FuzzTarget) throws -> [URL] {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let folder = root.appending(path: "Fuzzing/Corpora/\(target.rawValue)")
        return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .sorted { $0.lastPathComponent < $1.lastPathComponent }
    }
}
