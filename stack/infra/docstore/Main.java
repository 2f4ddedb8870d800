import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.h2.mvstore.MVStore;

/** The document store: MongoDB's protocol over one H2 MVStore file. Arguments: FILE PORT. */
public class Main {
  /** pymongo asks for wire version 9 at least; the library's own newest constant says 8. */
  static final class ReportedVersion implements MongoVersion {
    @Override
    public List<Integer> getVersionArray() {
      return List.of(4, 4, 0);
    }

    @Override
    public int getWireVersion() {
      return 9;
    }
  }

  private static volatile boolean stopping = false;

  /**
   * A store that could not write (a full disk, say) closes itself for good. Whoever started this process starts it
   * again, and the file is opened as it was when it was last written.
   */
  private static void giveUp(Throwable failure) {
    if (stopping) {
      return;
    }
    System.err.println("the store is closed: " + failure);
    Runtime.getRuntime().halt(1);
  }

  public static void main(String[] args) throws Exception {
    MVStore store =
        new MVStore.Builder().fileName(args[0]).cacheSize(Integer.getInteger("cacheMb", 64)).open();
    H2Backend backend = new H2Backend(store);
    backend.version(new ReportedVersion());
    MongoServer server = new MongoServer(backend);
    server.bind("127.0.0.1", Integer.parseInt(args[1]));
    ScheduledExecutorService flusher = Executors.newSingleThreadScheduledExecutor();
    flusher.scheduleWithFixedDelay(
        () -> {
          try {
            if (store.hasUnsavedChanges()) {
              store.commit();
              store.sync();
            }
          } catch (Throwable failure) {
            giveUp(failure);
          }
          if (store.isClosed()) {
            giveUp(store.getPanicException());
          }
        },
        200,
        200,
        TimeUnit.MILLISECONDS);
    System.out.println("listening on " + args[1]);
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  stopping = true;
                  flusher.shutdownNow();
                  server.shutdown();
                }));
    Thread.currentThread().join();
  }
}
