// SPDX-License-Identifier: Apache-2.0
// A folder of manifests is a small API server: its objects are those of all its files, and a changed file is a few
// watch events. Editors write a temporary file and rename it, kubelet swaps a symlink (..data)
// under all files of a ConfigMap at once; so any event makes us look, shortly after the last one, at every file whose
// name, size or time changed. The target of a link is elsewhere, and its changes cause no event: if there
// are links, we look again every few seconds. A file that becomes invalid keeps its previous objects: all of them
// if it is not YAML or JSON or if an object has lost its name, the one object if only that is unusable.
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/log.h"
#include "kube/complaints.h"
#include "kube/kept_files.h"
#include "kube/manifest_file.h"
#include "kube/source.h"
#include "kube/wait_board.h"
#include "sys/folder_watch.h"

namespace sluice::kube {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kSettle{50};
constexpr std::chrono::milliseconds kSettleMax{1000};  // if something in the folder is written all the time
// While the folder is missing, one of its files cannot be read, or one is elsewhere.
constexpr std::chrono::seconds kLookAgain{5};
constexpr std::size_t kNamesMax = 10;  // of Nodes, in a message
constexpr std::uintmax_t kFileBytesMax = 512UL * 1024 * 1024;

// What distinguishes two states of a file without reading it.
struct Stamp {
  ino_t inode = 0;
  off_t size = 0;
  timespec modified{};
  friend bool operator==(const Stamp& a, const Stamp& b) {
    return a.inode == b.inode && a.size == b.size && a.modified.tv_sec == b.modified.tv_sec &&
           a.modified.tv_nsec == b.modified.tv_nsec;
  }
};

struct File {
  Stamp stamp;
  Contents contents;      // the last good ones
  Complaints complaints;  // about its contents
};

bool is_manifest(const fs::path& path) {
  const std::string name = path.filename().string();
  if (name.empty() || name.front() == '.' || name.back() == '~' || name.front() == '#') return false;
  const std::string extension = path.extension().string();
  return extension == ".yaml" || extension == ".yml" || extension == ".json";
}

// What has the name of a manifest but holds no objects; empty for a file.
std::string no_file(const struct stat& status) {
  switch (status.st_mode & S_IFMT) {
    case S_IFREG:
      return {};
    case S_IFDIR:
      return "it is a folder";
    case S_IFIFO:
      return "it is a FIFO";
    case S_IFSOCK:
      return "it is a socket";
    case S_IFCHR:
    case S_IFBLK:
      return "it is a device";
    default:
      return "it is not a file";
  }
}

// Why a file could not be opened.
std::string reason_of(int error, const fs::path& path) {
  std::error_code ignored;
  if (error != ENOENT || !fs::is_symlink(path, ignored)) return std::strerror(error);
  return fmt::format("it is a link to {}, which is not there", fs::read_symlink(path, ignored).string());
}

class FileSource : public Source {
 public:
  FileSource(net::EventLoop& loop, std::string folder, std::string kept_folder, std::string node_name,
             SourceHooks hooks)
      : folder_(std::move(folder)),
        kept_(std::move(kept_folder), folder_),
        hooks_(std::move(hooks)),
        node_name_(std::move(node_name)),
        reader_(node_name_, hooks_),
        timer_(loop),
        descriptor_(loop) {}

  ~FileSource() override {
    // The descriptor is FolderWatch's; Asio must not close it as well.
    if (descriptor_.is_open()) descriptor_.release();
  }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  void start() override {
    kept_.forget_strangers();
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

  // Once as long as it lasts.
  void complain(std::string_view message, const std::string& why) {
    board_.wait("folder", WaitsFor::kFolder, folder_, why);
    if (!about_folder_.insert(std::string(message) + why).second) return;
    SLUICE_LOG_ERROR(message, {"folder", folder_}, {"err", why});
  }

  void wait_for_events() {
    descriptor_.async_wait(boost::asio::posix::descriptor_base::wait_read,
                           [this, alive = std::weak_ptr<bool>(alive_)](boost::system::error_code error) {
                             if (error || alive.expired()) return;
                             const auto names = watch_->read_names();
                             // "" means lost events or the end of the folder itself.
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
    about_entries_.begin_round();
    for (fs::directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
      if (!is_manifest(entry->path())) continue;
      std::error_code ignored;
      links = links || entry->is_symlink(ignored);
      struct stat status{};
      if (::stat(entry->path().c_str(), &status) != 0) {
        // It exists, even if only as a dangling link, so reading it will show what is wrong.
        if (errno != ENOENT || ::lstat(entry->path().c_str(), &status) == 0)
          listed.emplace_back(entry->path(), Stamp{});
        continue;
      }
      if (S_ISREG(status.st_mode))
        listed.emplace_back(entry->path(), Stamp{status.st_ino, status.st_size, status.st_mtim});
      const std::string why = no_file(status);
      if (!why.empty() && about_entries_.is_new(entry->path().string() + why))
        SLUICE_LOG_WARNING("An entry of the folder of manifests is not read", {"file", entry->path().string()},
                           {"why", why});
    }
    if (error) return complain("Cannot read the folder of manifests, keeping what is served", error.message());
    if (watch_) {
      about_folder_.clear();
      board_.done("folder");
    }
    take_in(listed);
    // What repairs an unreadable file, for example chmod(1), causes no event of its folder.
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
        Complaints complaints = known == files_.end() ? Complaints() : std::move(known->second.complaints);
        Previous previous = known == files_.end() ? Previous([this, name = name] { return read_kept(name); })
                                                  : Previous(std::move(known->second.contents));
        complaints.begin_round();
        File file = read(path, stamp, previous, complaints);
        file.complaints = std::move(complaints);
        found.emplace(name, std::move(file));
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
    Complaints unsaid;
    auto outcome = stream ? reader_.read(stream, *copy, nothing, unsaid) : fail(Errc::kNotFound, std::strerror(errno));
    if (!outcome) return {};
    SLUICE_LOG_INFO("Using the copy of a manifest that an earlier proxy kept", {"file", name},
                    {"copy", copy->string()});
    return std::move(outcome->contents);
  }

  File read(const fs::path& path, const Stamp& stamp, Previous& previous, Complaints& complaints) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream) {
      // It is retried at every look, so only a new reason is counted.
      const std::string why = reason_of(errno, path);
      if (complaints.is_new(why)) refuse_file(path, why);
      return {Stamp{}, std::move(previous.get()), {}};
    }
    const auto refuse = [&](const std::string& why) {
      complaints.is_new(why) ? refuse_file(path, why) : count_refused("file");
    };
    if (static_cast<std::uintmax_t>(stamp.size) > kFileBytesMax) {
      refuse(fmt::format("larger than {} bytes", kFileBytesMax));
      return {stamp, std::move(previous.get()), {}};
    }
    auto outcome = reader_.read(stream, path, previous, complaints);
    if (!outcome) {
      refuse(outcome.error().what);
      return {stamp, std::move(previous.get()), {}};
    }
    if (outcome->whole) kept_.keep(path);
    return {stamp, std::move(outcome->contents), {}};
  }

  void refuse_file(const fs::path& path, const std::string& why) {
    SLUICE_LOG_ERROR("A manifest cannot be read, keeping its last good state", {"file", path.string()}, {"err", why});
    count_refused("file");
  }

  void count_refused(std::string_view kind) {
    if (hooks_.on_refused) hooks_.on_refused(kind);
  }

  // All files together; of an object in several files, that of the first file by name counts.
  Contents merge() {
    about_twins_.begin_round();
    Contents all;
    for (const auto& [name, file] : files_) {
      for (const auto& [key, service] : file.contents.services) {
        if (!all.services.emplace(key, service).second) complain_twice(name, key);
      }
      for (const auto& [key, slice] : file.contents.slices) {
        if (!all.slices.emplace(key, slice).second) complain_twice(name, key);
      }
      if (file.contents.node && !all.node) all.node = file.contents.node;
      all.other_nodes.insert(file.contents.other_nodes.begin(), file.contents.other_nodes.end());
    }
    return all;
  }

  void complain_twice(const std::string& name, const model::ObjectKey& key) {
    const auto first = std::find_if(files_.begin(), files_.end(), [&](const auto& entry) {
      return entry.second.contents.services.contains(key) || entry.second.contents.slices.contains(key);
    });
    if (!about_twins_.is_new(fmt::format("{} {} {}", key.to_string(), first->first, name))) return;
    SLUICE_LOG_ERROR("An object is in two files, the first file counts", {"object", key.to_string()}, {"file", name},
                     {"first", first->first});
  }

  // Where the folder has Nodes and none is this one, the name is wrong, most likely. Without any, nothing is missed: only health needs one.
  void look_for_node(const Contents& all) {
    if (all.node || all.other_nodes.empty()) {
      board_.done("node");
      node_reported_.clear();
      return;
    }
    const std::string names = all.other_nodes.size() > kNamesMax ? fmt::format("more than {}", kNamesMax)
                                                                 : fmt::format("{}", fmt::join(all.other_nodes, ", "));
    board_.wait("node", WaitsFor::kNode, node_name_, "the folder has no such Node; it has: " + names);
    if (std::exchange(node_reported_, names) == names) return;
    SLUICE_LOG_ERROR("The folder of manifests has no Node of this name; is --hostname-override right?",
                     {"node", node_name_}, {"known", names});
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
    look_for_node(now);
    published_ = std::move(now);
    if (!update.empty()) hooks_.on_update(std::move(update));
  }

  const std::string folder_;
  KeptFiles kept_;
  const SourceHooks hooks_;
  const std::string node_name_;
  ManifestReader reader_;
  WaitBoard board_;
  boost::asio::steady_timer timer_;
  boost::asio::posix::stream_descriptor descriptor_;
  std::optional<sys::FolderWatch> watch_;
  std::optional<std::chrono::steady_clock::time_point> look_by_;  // set while a look is planned
  std::map<std::string, File> files_;
  Contents published_;
  std::string node_reported_;           // the names that the folder has instead, as logged
  std::set<std::string> about_folder_;  // complaints, until it can be read again
  Complaints about_entries_;            // that are not files
  Complaints about_twins_;              // objects in two files
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
