/// Text, octet-stream and CBOR: the payload is the value of one resource and nothing else (spec 3.3).
enum SingleValue {
    static func decode(
        _ bytes: [UInt8],
        _ format: ContentFormat,
        at path: LwM2MPath
    ) throws(PayloadError) -> PathContent {
        guard let object = path.objectID, let resource = path.resourceID else {
            throw PayloadError(.unsupportedLevel, at: 0)
        }
        guard bytes.count <= PayloadCodec.maximumSize else {
            throw PayloadError(.tooLarge, at: PayloadCodec.maximumSize)
        }
        let scalar: Scalar
        switch format {
        case .text:
            guard ResourceType.string.accepts(bytes[...]) else { throw PayloadError(.malformed, at: 0) }
            scalar = Self.scalar(bytes, as: ObjectDefinition.known(object)?.convertibleType(resource) ?? .string)
        case .octetStream: scalar = .opaque(bytes)
        default:
            var reader = try CBORReader(bytes)
            scalar = try reader.readScalar()
            try reader.finish()
        }
        var content = DocumentContent(format, at: path)
        try content.add(scalar, literal: bytes, at: path, offset: 0)
        guard let added = content.objects.first?.instances.first?.resources.first else {
            throw PayloadError(.missingResource, at: 0)
        }
        return .resource(added)
    }

    static func encode(
        _ resource: Resource,
        _ format: ContentFormat,
        at path: LwM2MPath
    ) throws(PayloadError) -> [UInt8] {
        guard case .single(let bytes) = resource.value else { throw PayloadError(.wrongMultiplicity(path)) }
        let type = path.objectID.flatMap(ObjectDefinition.known)?.convertibleType(resource.id)
        switch try DocumentValue.item(bytes, resource.spelling, type, in: format, at: path) {
        case .literal(let literal, _): return literal
        case .scalar(let scalar):
            switch format {
            case .text: return Self.text(scalar)
            case .octetStream:
                guard case .opaque(let bytes) = scalar else { throw PayloadError(.wrongType(path, expected: .opaque)) }
                return bytes
            default:
                var writer = CBORWriter()
                writer.append(scalar)
                return writer.bytes
            }
        }
    }

    /// What the text says as a value of this type; as it stands when it says no such thing.
    private static func scalar(_ text: [UInt8], as type: ResourceType) -> Scalar {
        switch type {
        case .integer, .unsigned, .time:
            // Digits and a sign are all that there may be; no point and no exponent.
            guard text.allSatisfy({ 0x30...0x39 ~= $0 || $0 == UInt8(ascii: "-") }),
                let number = JSONNumber(text[...]), number.length == text.count, let scalar = number.scalar
            else { return .text(text) }
            return scalar
        case .boolean:
            return text == [UInt8(ascii: "1")]
                ? .boolean(true) : text == [UInt8(ascii: "0")] ? .boolean(false) : .text(text)
        case .opaque: return Base64.decode(text).map { .opaque($0) } ?? .text(text)
        case .string, .objectLink, .float, .none: return .text(text)
        }
    }

    private static func text(_ scalar: Scalar) -> [UInt8] {
        switch scalar {
        case .unsigned(let number): Array(String(number).utf8)
        case .negative(let number): Array(String(number).utf8)
        case .boolean(let value): [value ? UInt8(ascii: "1") : UInt8(ascii: "0")]
        case .text(let text), .link(let text): text
        case .opaque(let bytes): Base64.encode(bytes)
        // Stands in literals only.
        case .fraction: []
        }
    }
}
