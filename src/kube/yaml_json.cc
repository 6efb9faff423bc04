// SPDX-License-Identifier: Apache-2.0
// YAML's plain scalars carry their type in their looks: 80 is a number, "80" a text, null nothing (YAML 1.2 core
// schema, with the spellings that sigs.k8s.io/yaml takes). Aliases let a small file mean a huge one, so the nodes that
// are written are counted.
#include "kube/yaml_json.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <cmath>
#include <cstdlib>

namespace sluice::kube {
namespace {

constexpr std::size_t kNodesMax = 20000000;
constexpr int kDepthMax = 100;

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

bool is_whole_number(const std::string& text) {
  const std::size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  return text.size() > sign && text.size() <= 18 && text.find_first_not_of("0123456789", sign) == std::string::npos &&
         (text.size() == sign + 1 || text[sign] != '0');
}

void append_scalar(std::string& out, const YAML::Node& node) {
  const std::string& text = node.Scalar();
  // yaml-cpp tags quoted scalars "!" and plain ones "?".
  if (node.Tag() == "!" || node.Tag() == "tag:yaml.org,2002:str") return append_json_string(out, text);
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") {
    out += "null";
  } else if (text == "true" || text == "True" || text == "TRUE") {
    out += "true";
  } else if (text == "false" || text == "False" || text == "FALSE") {
    out += "false";
  } else if (is_whole_number(text)) {
    out += text[0] == '+' ? text.substr(1) : text;
  } else {
    char* end = nullptr;
    const double number = std::strtod(text.c_str(), &end);
    const bool looks_numeric = text.find_first_not_of("0123456789+-.eE") == std::string::npos &&
                               text.find_first_of("0123456789") != std::string::npos;
    if (looks_numeric && *end == '\0' && std::isfinite(number)) {
      out += fmt::format("{}", number);
    } else {
      append_json_string(out, text);
    }
  }
}

class Writer {
 public:
  Result<> write(std::string& out, const YAML::Node& node, int depth) {
    if (++nodes_ > kNodesMax)
      return fail(Errc::kExhausted,
                  fmt::format("{}: the document means more than {} nodes", node.Mark().line + 1, kNodesMax));
    if (depth > kDepthMax)
      return fail(Errc::kExhausted, fmt::format("{}: nested deeper than {}", node.Mark().line + 1, kDepthMax));
    switch (node.Type()) {
      case YAML::NodeType::Scalar:
        append_scalar(out, node);
        return {};
      case YAML::NodeType::Sequence:
        return write_sequence(out, node, depth);
      case YAML::NodeType::Map:
        return write_map(out, node, depth);
      default:
        out += "null";
        return {};
    }
  }

 private:
  Result<> write_sequence(std::string& out, const YAML::Node& node, int depth) {
    out += '[';
    for (std::size_t i = 0; i < node.size(); ++i) {
      if (i > 0) out += ',';
      SLUICE_CHECK_OK(write(out, node[i], depth + 1));
    }
    out += ']';
    return {};
  }

  Result<> write_map(std::string& out, const YAML::Node& node, int depth) {
    out += '{';
    bool first = true;
    for (const auto& pair : node) {
      if (!pair.first.IsScalar())
        return fail(Errc::kInvalid, fmt::format("{}: a key must be a string", pair.first.Mark().line + 1));
      if (!first) out += ',';
      first = false;
      append_json_string(out, pair.first.Scalar());
      out += ':';
      SLUICE_CHECK_OK(write(out, pair.second, depth + 1));
    }
    out += '}';
    return {};
  }

  std::size_t nodes_ = 0;
};

class Object : public YamlObject {
 public:
  Object(YAML::Node node, std::string json) : node_(std::move(node)), json_(std::move(json)) {}
  [[nodiscard]] const std::string& json() const override { return json_; }
  [[nodiscard]] int line() const override { return node_.Mark().line + 1; }

  [[nodiscard]] int line_of(const std::string& path) const override {
    YAML::Node here;
    here.reset(node_);
    int line = node_.Mark().line + 1;
    std::size_t at = 0;
    while (at < path.size()) {
      YAML::Node next;
      if (path[at] == '[') {
        const std::size_t close = path.find(']', at);
        if (close == std::string::npos || !here.IsSequence()) break;
        const std::size_t index = std::strtoul(path.c_str() + at + 1, nullptr, 10);
        if (index >= here.size()) break;
        next.reset(here[index]);
        at = close + 1;
      } else {
        if (path[at] == '.') ++at;
        const std::size_t end = std::min(path.find_first_of(".[", at), path.size());
        const std::string key = path.substr(at, end - at);
        if (!here.IsMap()) break;
        const YAML::Node& constant = here;
        const YAML::Node found = constant[key];
        if (!found) break;
        next.reset(found);
        at = end;
      }
      here.reset(next);
      if (here.Mark().line >= 0) line = here.Mark().line + 1;
    }
    return line;
  }

 private:
  const YAML::Node node_;
  const std::string json_;
};

using Objects = std::vector<std::unique_ptr<YamlObject>>;

Result<> add_object(const YAML::Node& node, Writer& writer, Objects& objects) {
  if (!node || node.IsNull()) return {};
  if (!node.IsMap())
    return fail(Errc::kInvalid, fmt::format("{}: a Kubernetes object must be a map", node.Mark().line + 1));
  const YAML::Node kind = node["kind"];
  const YAML::Node items = node["items"];
  const std::string name = kind && kind.IsScalar() ? kind.Scalar() : "";
  if (name.size() >= 4 && name.compare(name.size() - 4, 4, "List") == 0) {
    if (items && !items.IsNull() && !items.IsSequence())
      return fail(Errc::kInvalid, fmt::format("{}: items: must be a list", items.Mark().line + 1));
    for (std::size_t i = 0; items && i < items.size(); ++i) {
      YAML::Node item = items[i];
      // Items of a typed list need not name their kind: the list's name tells it.
      if (item.IsMap() && !item["kind"] && name.size() > 4) item["kind"] = name.substr(0, name.size() - 4);
      SLUICE_CHECK_OK(add_object(item, writer, objects));
    }
    return {};
  }
  std::string json;
  SLUICE_CHECK_OK(writer.write(json, node, 0));
  objects.push_back(std::make_unique<Object>(node, std::move(json)));
  return {};
}

}  // namespace

Result<std::vector<std::unique_ptr<YamlObject>>> load_yaml_objects(const std::string& text) {
  try {
    Objects objects;
    Writer writer;
    for (const YAML::Node& document : YAML::LoadAll(text)) SLUICE_CHECK_OK(add_object(document, writer, objects));
    return objects;
  } catch (const YAML::Exception& error) {
    return fail(Errc::kInvalid, fmt::format("{}: {}", error.mark.line + 1, error.msg));
  }
}

}  // namespace sluice::kube
