// SPDX-License-Identifier: Apache-2.0
// A folder of manifests is a small API server: its objects are those of all its files, a changed file is a handful of
// watch events. People edit with editors that write a temporary file and rename it, kubelet swaps a symlink (..data)
// under all files of a ConfigMap at once; so any event makes us look, shortly after the last one, at every file whose
// name, size or time changed. What a link leads to lies elsewhere, where nobody tells us of its changes: where there
// are links, we look again every few seconds. A file that breaks keeps the objects that it held before: all of them
// where it is no YAML or JSON or where an object has lost its name, the one object where only that cannot be used.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/log.h"
#include "kube/decode.h"
#include "kube/kept_files.h"
#include "kube/manifest_text.h"
#include "kube/source.h"
#include "kube/wait_board.h"
#include "sys/folder_watch.h"

namespace sluice::kube {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kSettle{50};
constexpr std::chrono::milliseconds kSettleMax{1000};  // where something in the folder is written all the time
// While the folder is not there, a file of it cannot be read, or one lies elsewhere.
constexpr std::chrono::seconds kLookAgain{5};
constexpr std::uintmax_t kFileBytesMax = 512UL * 1024 * 1024;

// What tells one state of a file from another without reading it.
struct Stamp {
  ino_t inode = 0;
  off_t size = 0;
  timespec modified{};
  friend bool operator==(const Stamp& a, const Stamp& b) {
    return a.inode == b.inode && a.size == b.size && a.modified.tv_sec == b.modified.tv_sec &&
           a.modified.tv_nsec == b.modified.tv_nsec;
  }
};

using Services = std::map<model::ObjectKey, model::Service>;
using Slices = std::map<model::ObjectKey, model::EndpointSlice>;

// The objects of one file, or of the whole folder.
struct Contents {
  Services services;
  Slices slices;
  std::optional<model::Node> node;
};

struct File {
  Stamp stamp;
  Contents contents;  // the last good ones
};

// Of a kind that we read. The group counts as well: Knative has a Service of its own, under the same name as the real
// one. Items of a typed list name no apiVersion.
bool is_ours(const Metadata& metadata) {
  const std::string_view version = metadata.api_version;
  if (metadata.kind == "EndpointSlice") return version.empty() || version.starts_with("discovery.k8s.io/");
  return (metadata.kind == "Service" || metadata.kind == "Node") && (version.empty() || version == "v1");
}

// What an API server demands or fills in, and nobody does here.
std::optional<FieldProblem> missing_in(const decltype(Decoded::object)& object) {
  const auto* service = std::get_if<model::Service>(&object);
  if (service == nullptr || service->headless || service->type == model::ServiceType::kExternalName) return {};
  if (service->cluster_ips.empty())
    return FieldProblem{"spec.clusterIP", "must be there: there is no API server to choose one"};
  if (service->ports.empty()) return FieldProblem{"spec.ports", "must be there"};
  return {};
}

// A fault in what tells this object from others.
bool hides_identity(const FieldProblem& problem) {
  return problem.path == "kind" || problem.path == "apiVersion" || problem.path == "metadata" ||
         problem.path.starts_with("metadata.name");
}

bool is_manifest(const fs::path& path) {
  const std::string name = path.filename().string();
  if (name.empty() || name.front() == '.' || name.back() == '~' || name.front() == '#') return false;
  const std::string extension = path.extension().string();
  return extension == ".yaml" || extension == ".yml" || extension == ".json";
}

// What a file held before. What a process before us has kept is read only where it is needed.
class Previous {
 public:
  explicit Previous(Contents known) : contents_(std::move(known)) {}
  explicit Previous(std::function<Contents()> load) : load_(std::move(load)) {}
  Contents& get() {
    if (load_) contents_ = std::exchange(load_, nullptr)();
    return contents_;
  }

 private:
  Contents contents_;
  std::function<Contents()> load_;
};

class FileSource : public Source {
 public:
  FileSource(net::EventLoop& loop, std::string folder, std::string kept_folder, std::string node_name,
             SourceHooks hooks)
      : folder_(std::move(folder)),
        kept_(std::move(kept_folder)),
        node_name_(std::move(node_name)),
        hooks_(std::move(hooks)),
        timer_(loop),
        descriptor_(loop) {}

  ~FileSource() override {
    // The descriptor is FolderWatch's; Asio must not close it as well.
    if (descriptor_.is_open()) descriptor_.release();
  }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  void start() override {
    watch_folder();
    scan();
  }

  [[nodiscard]] std::vector<Waiting> waiting() const override { return board_.list(); }

 private:
  void watch_folder() {
    if (descriptor_.is_open()) descriptor_.release();
    watch_.reset();
    auto opened = sys::FolderWatch::open(folder_);
    if (!opened) {
      complain("Cannot watch the folder of manifests, looking again later", opened.error().what);
      return look_after(kLookAgain, true);
    }
    watch_.emplace(std::move(*opened));
    boost::system::error_code error;
    descriptor_.assign(watch_->fd(), error);
    if (error) {
      complain("Cannot wait for changes of the folder of manifests, looking again later", error.message());
      return look_after(kLookAgain, true);
    }
    wait_for_events();
  }

  // Once for as long as it lasts.
  void complain(std::string_view message, const std::string& why) {
    board_.wait("folder", WaitsFor::kFolder, folder_, why);
    if (!complaints_.insert(std::string(message) + why).second) return;
    SLUICE_LOG_ERROR(message, {"folder", folder_}, {"err", why});
  }

  void wait_for_events() {
    descriptor_.async_wait(boost::asio::posix::descriptor_base::wait_read,
                           [this, alive = std::weak_ptr<bool>(alive_)](boost::system::error_code error) {
                             if (error || alive.expired()) return;
                             const auto names = watch_->read_names();
                             // "" stands for lost events or the end of the folder itself.
                             const bool again = !names || std::find(names->begin(), names->end(), "") != names->end();
                             look_after(kSettle, again);
                             if (!again) wait_for_events();
                           });
  }

  void look_after(std::chrono::milliseconds delay, bool watch_again) {
    watch_again_ = watch_again_ || watch_again;
    const auto now = std::chrono::steady_clock::now();
    if (!look_by_) look_by_ = now + std::max(delay, kSettleMax);
    timer_.expires_at(std::min(now + delay, *look_by_));
    timer_.async_wait([this, alive = std::weak_ptr<bool>(alive_)](boost::system::error_code error) {
      if (error || alive.expired()) return;
      look_by_.reset();
      if (std::exchange(watch_again_, false)) watch_folder();
      scan();
    });
  }

  void scan() {
    std::error_code error;
    std::vector<std::pair<fs::path, Stamp>> listed;
    bool links = false;
    for (fs::directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
      if (!is_manifest(entry->path())) continue;
      std::error_code ignored;
      links = links || entry->is_symlink(ignored);
      struct stat status{};
      if (::stat(entry->path().c_str(), &status) == 0) {
        if (S_ISREG(status.st_mode))
          listed.emplace_back(entry->path(), Stamp{status.st_ino, status.st_size, status.st_mtim});
      } else if (errno != ENOENT) {
        listed.emplace_back(entry->path(), Stamp{});  // it is there, so reading it will tell what is wrong
      }
    }
    if (error) return complain("Cannot read the folder of manifests, keeping what is known", error.message());
    if (watch_) {
      complaints_.clear();
      board_.done("folder");
    }
    take_in(listed);
    // What mends an unreadable file, chmod(1) for instance, is no event of its folder.
    const auto unread = [](const auto& entry) { return entry.second.stamp == Stamp{}; };
    if (links || std::any_of(files_.begin(), files_.end(), unread)) look_after(kLookAgain, false);
  }

  void take_in(const std::vector<std::pair<fs::path, Stamp>>& listed) {
    std::map<std::string, File> found;
    bool changed = !complete_ || listed.size() != files_.size();
    for (const auto& [path, stamp] : listed) {
      const std::string name = path.filename().string();
      const auto known = files_.find(name);
      if (known != files_.end() && known->second.stamp == stamp && stamp != Stamp{}) {
        found.emplace(name, std::move(known->second));
      } else {
        changed = true;
        Previous previous = known == files_.end() ? Previous([this, name = name] { return read_kept(name); })
                                                  : Previous(std::move(known->second.contents));
        found.emplace(name, read(path, stamp, previous));
      }
    }
    std::set<std::string> names;
    for (const auto& [name, file] : found) names.insert(name);
    kept_.forget_but(names);
    files_ = std::move(found);
    if (changed) publish();
  }

  Contents read_kept(const std::string& name) {
    const auto copy = kept_.find(name);
    if (!copy) return {};
    std::ifstream stream(*copy, std::ios::binary);
    Previous nothing{Contents{}};
    auto read = stream ? parse(stream, *copy, nothing) : fail(Errc::kNotFound, std::strerror(errno));
    if (!read) return {};
    SLUICE_LOG_INFO("Going on with what the proxy before has kept of a manifest", {"file", name},
                    {"copy", copy->string()});
    return std::move(*read);
  }

  File read(const fs::path& path, const Stamp& stamp, Previous& previous) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream) {
      const std::string why = std::strerror(errno);
      if (std::exchange(unread_[path.string()], why) != why) refuse_file(path, why);
      return {Stamp{}, std::move(previous.get())};
    }
    unread_.erase(path.string());
    if (static_cast<std::uintmax_t>(stamp.size) > kFileBytesMax) {
      refuse_file(path, fmt::format("larger than {} bytes", kFileBytesMax));
      return {stamp, std::move(previous.get())};
    }
    const std::size_t refused_before = refused_;
    auto contents = parse(stream, path, previous);
    if (!contents) {
      refuse_file(path, contents.error().what);
      return {stamp, std::move(previous.get())};
    }
    if (refused_ == refused_before) kept_.keep(path);
    return {stamp, std::move(*contents)};
  }

  Result<Contents> parse(std::ifstream& stream, const fs::path& path, Previous& previous) {
    Contents contents;
    Result<> objects;  // the first that cannot be told apart from others: then the file is not known as a whole
    const OnManifest take_one = [&](const ManifestText& object) {
      if (objects) objects = take(path.string(), object, previous, contents);
    };
    const bool json = path.extension() == ".json";
    const Result<> text = json ? read_json_manifests(stream, take_one) : read_yaml_manifests(stream, take_one);
    SLUICE_CHECK_OK(objects);
    SLUICE_CHECK_OK(text);
    return contents;
  }

  void refuse_file(const fs::path& path, const std::string& why) {
    SLUICE_LOG_ERROR("A manifest cannot be read, keeping its last good state", {"file", path.string()}, {"err", why});
    if (hooks_.on_refused) hooks_.on_refused("file");
  }

  // One object of a file. One that cannot be used keeps its own last good state; the file's other objects are not its
  // hostages. An error where it cannot be said which object this is: its last good state is not to be found then.
  Result<> take(const std::string& file, const ManifestText& object, Previous& before, Contents& contents) {
    auto decoded = decoder_.decode(object.json(), object.kind_hint());
    if (!decoded) return fail(decoded.error().code, fmt::format("{}: {}", object.line(), decoded.error().what));
    model::ObjectKey key = decoded->metadata.key;
    const std::string& kind = decoded->metadata.kind;
    if (auto missing = missing_in(decoded->object)) decoded->problems.push_back(*std::move(missing));
    const FieldProblem* problem = decoded->problems.empty() ? nullptr : &decoded->problems.front();
    if (kind.empty()) return fail(Errc::kInvalid, fmt::format("{}: kind: must be there", object.line_of("kind")));
    if (!is_ours(decoded->metadata)) {
      SLUICE_LOG_INFO("An object of a kind that a Service proxy does not read, ignored", {"file", file},
                      {"line", object.line()}, {"apiVersion", decoded->metadata.api_version}, {"kind", kind},
                      {"name", key.name});
      return {};
    }
    if (problem != nullptr && hides_identity(*problem)) {
      return fail(Errc::kInvalid,
                  fmt::format("{}: {}: {}: {}", object.line_of(problem->path), kind, problem->path, problem->text));
    }
    if (kind != "Node" && key.namespace_name.empty()) key.namespace_name = "default";
    for (const FieldProblem& note : decoded->notes) {
      SLUICE_LOG_WARNING("Part of an object is ignored", {"file", file}, {"line", object.line_of(note.path)},
                         {"object", key.to_string()}, {"field", note.path}, {"why", note.text});
    }
    if (problem != nullptr) {
      SLUICE_LOG_ERROR("An object of a manifest cannot be used, keeping its last good state", {"file", file},
                       {"line", object.line_of(problem->path)}, {"kind", kind}, {"object", key.to_string()},
                       {"field", problem->path}, {"err", problem->text});
      ++refused_;
      if (hooks_.on_refused) hooks_.on_refused(kind);
      const Contents& previous = before.get();
      if (const auto old = previous.services.find(key); kind == "Service" && old != previous.services.end())
        contents.services.insert(*old);
      if (const auto old = previous.slices.find(key); kind == "EndpointSlice" && old != previous.slices.end())
        contents.slices.insert(*old);
      if (kind == "Node" && previous.node && previous.node->name == key.name) contents.node = previous.node;
      return {};
    }
    keep(file, object, std::move(key), std::move(*decoded), contents);
    return {};
  }

  void keep(const std::string& file, const ManifestText& object, model::ObjectKey key, Decoded&& decoded,
            Contents& contents) {
    bool first = true;
    if (auto* service = std::get_if<model::Service>(&decoded.object)) {
      service->key = key;
      first = contents.services.emplace(key, std::move(*service)).second;
    } else if (auto* slice = std::get_if<model::EndpointSlice>(&decoded.object)) {
      slice->key = key;
      first = contents.slices.emplace(key, std::move(*slice)).second;
    } else if (auto* node = std::get_if<model::Node>(&decoded.object); node != nullptr && node->name == node_name_) {
      contents.node = std::move(*node);
    }
    if (!first) {
      SLUICE_LOG_ERROR("An object stands twice in a file, the first counts", {"file", file}, {"line", object.line()},
                       {"object", key.to_string()});
    }
  }

  // All files together; of an object that several hold, that of the first file by name counts.
  Contents merge() {
    Contents all;
    for (const auto& [name, file] : files_) {
      for (const auto& [key, service] : file.contents.services) {
        if (!all.services.emplace(key, service).second) complain_twice(name, key);
      }
      for (const auto& [key, slice] : file.contents.slices) {
        if (!all.slices.emplace(key, slice).second) complain_twice(name, key);
      }
      if (file.contents.node && !all.node) all.node = file.contents.node;
    }
    return all;
  }

  void complain_twice(const std::string& name, const model::ObjectKey& key) {
    const auto first = std::find_if(files_.begin(), files_.end(), [&](const auto& entry) {
      return entry.second.contents.services.contains(key) || entry.second.contents.slices.contains(key);
    });
    SLUICE_LOG_ERROR("An object stands in two files, the first file counts", {"object", key.to_string()},
                     {"file", name}, {"first", first->first});
  }

  void publish() {
    Contents now = merge();
    model::Update update;
    update.services_complete = update.slices_complete = !complete_;
    complete_ = true;
    for (const auto& [key, service] : now.services) {
      const auto before = published_.services.find(key);
      if (before == published_.services.end() || before->second != service) update.services.push_back(service);
    }
    for (const auto& [key, slice] : now.slices) {
      const auto before = published_.slices.find(key);
      if (before == published_.slices.end() || before->second != slice) update.slices.push_back(slice);
    }
    for (const auto& [key, service] : published_.services) {
      if (!now.services.contains(key)) update.services_removed.push_back(key);
    }
    for (const auto& [key, slice] : published_.slices) {
      if (!now.slices.contains(key)) update.slices_removed.push_back(key);
    }
    if (now.node != published_.node) {
      update.node = now.node;
      update.node_removed = !now.node;
    }
    published_ = std::move(now);
    if (!update.empty()) hooks_.on_update(std::move(update));
  }

  const std::string folder_;
  KeptFiles kept_;
  const std::string node_name_;
  const SourceHooks hooks_;
  WaitBoard board_;
  Decoder decoder_;
  boost::asio::steady_timer timer_;
  boost::asio::posix::stream_descriptor descriptor_;
  std::optional<sys::FolderWatch> watch_;
  std::optional<std::chrono::steady_clock::time_point> look_by_;  // set while a look is planned
  std::map<std::string, File> files_;
  Contents published_;
  std::size_t refused_ = 0;                    // objects so far
  std::map<std::string, std::string> unread_;  // files that cannot be opened and why, so that it is said once
  std::set<std::string> complaints_;           // about the folder, until it is well again
  bool complete_ = false;
  bool watch_again_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace

std::unique_ptr<Source> make_file_source(net::EventLoop& loop, std::string folder, std::string kept_folder,
                                         std::string node_name, SourceHooks hooks) {
  return std::make_unique<FileSource>(loop, std::move(folder), std::move(kept_folder), std::move(node_name),
                                      std::move(hooks));
}

}  // namespace sluice::kube
