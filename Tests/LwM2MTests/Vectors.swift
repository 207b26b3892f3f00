import Foundation
import LwM2M
import Testing

/// The payload vectors in `Resources/vectors.json`.
struct Vector: Decodable, Sendable, CustomTestStringConvertible {
    struct Meaning: Decodable, Sendable { let nodes: [Node] }

    struct Node: Decodable, Sendable, Equatable {
        let path: String
        let type: String
        let value: Scalar
    }

    enum Scalar: Decodable, Sendable, Equatable {
        case text(String)
        case number(Int64)
        case boolean(Bool)

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let boolean = try? container.decode(Bool.self) {
                self = .boolean(boolean)
            } else if let number = try? container.decode(Int64.self) {
                self = .number(number)
            } else {
                self = .text(try container.decode(String.self))
            }
        }
    }

    let name: String
    let contentFormat: UInt16
    let path: String
    let hex: String
    let valid: Bool
    let canonical: Bool
    let meaning: Meaning

    private enum CodingKeys: String, CodingKey {
        case name, path, hex, valid, canonical, meaning
        case contentFormat = "content_format"
    }

    var testDescription: String { self.name }
    var payload: [UInt8] { bytes(hex: self.hex) }

    var lwm2mPath: LwM2MPath {
        get throws {
            try LwM2MPath(segments: self.path.split(separator: "/").map(String.init))
        }
    }

    /// All vectors with this content format.
    static func all(_ contentFormat: UInt16) throws -> [Vector] {
        struct File: Decodable { let vectors: [Failable] }
        /// Other formats have shapes of their own, which this target does not read.
        struct Failable: Decodable {
            let vector: Vector?
            init(from decoder: any Decoder) throws { self.vector = try? Vector(from: decoder) }
        }
        let url = try #require(
            Bundle.module.url(forResource: "vectors", withExtension: "json", subdirectory: "Resources")
        )
        let file = try JSONDecoder().decode(File.self, from: Data(contentsOf: url))
        return file.vectors.compactMap(\.vector).filter { $0.contentFormat == contentFormat }
    }
}

/// The bytes that hexadecimal digits stand for; the tests write them, so they are right.
func bytes(hex: String) -> [UInt8] {
    let digits = Array(hex.utf8).map { UInt8(String(UnicodeScalar($0)), radix: 16) ?? 0 }
    return stride(from: 0, to: digits.count - 1, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

func hex(_ bytes: [UInt8]) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}

/// Every value of the content with its path, in order.
func valuesByPath(of content: PathContent, at path: LwM2MPath) -> [(path: String, bytes: [UInt8])] {
    switch content {
    case .instances(let instances):
        instances.flatMap { instance in
            instance.resources.flatMap { valuesByPath(of: $0, below: "\(path)/\(instance.id)") }
        }
    case .instance(let instance): instance.resources.flatMap { valuesByPath(of: $0, below: "\(path)") }
    case .resource(let resource):
        valuesByPath(of: resource, below: "\(path)".split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" })
    }
}

private func valuesByPath(of resource: Resource, below path: String) -> [(path: String, bytes: [UInt8])] {
    switch resource.value {
    case .single(let bytes): [("\(path)/\(resource.id)", bytes)]
    case .multiple(let instances): instances.map { ("\(path)/\(resource.id)/\($0.id)", $0.bytes) }
    }
}

func scalar(_ bytes: [UInt8], as type: String) -> Vector.Scalar? {
    switch type {
    case "string": ResourceValue.string(bytes).map { .text($0) }
    case "integer": ResourceValue.integer(bytes).map { .number($0) }
    case "unsigned": ResourceValue.unsigned(bytes).map { .number(Int64($0)) }
    case "boolean": ResourceValue.boolean(bytes).map { .boolean($0) }
    case "objlnk": ResourceValue.objectLink(bytes).map { .text($0.description) }
    case "opaque": .text(hex(bytes))
    default: nil
    }
}

/// Numbers that a seed decides, so that a failure can be had again.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
