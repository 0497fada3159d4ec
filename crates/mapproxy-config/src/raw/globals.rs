//! `globals`.

use super::reader::{Table, Text, record};
use super::{BoolOrText, ImageOptions, TextOrNull};
use crate::position::Spanned;

record! {
    /// `globals`.
    pub struct Globals {
        image: GlobalImage,
        http: Http,
        cache: GlobalCache,
        grid: GlobalGrid,
        srs: GlobalSrs,
        tiles: GlobalTiles,
        mapserver: Mapserver,
        renderd: Renderd,
        background: Background,
        /// Defaults of `services.wms`.
        wms: super::Wms,
        /// Defaults of `services.ogcapi`.
        ogcapi: super::OgcApi,
        template_dir: Text,
        debug_mode: bool,
        /// Not known to MapProxy 7.0.0.
        public_url: Text,
        /// Not known to MapProxy 7.0.0.
        trusted_proxies: Vec<Spanned<Text>>,
        /// Not known to MapProxy 7.0.0.
        auth: super::Auth,
    }
}

record! {
    /// `globals.image`.
    pub struct GlobalImage {
        resampling_method: Text,
        paletted: bool,
        stretch_factor: f64,
        max_shrink_factor: f64,
        jpeg_quality: f64,
        formats: Table<ImageOptions>,
        font_dir: Text,
        /// Without meaning; kept for old files.
        merge_method: Text,
        transparent_color_tolerance: f64,
    }
}

record! {
    /// `globals.http`, and `http` of a source.
    pub struct Http {
        method: Text,
        /// In seconds.
        client_timeout: f64,
        ssl_no_cert_checks: bool,
        ssl_ca_certs: Text,
        hide_error_details: bool,
        headers: Table<Text>,
        manage_cookies: bool,
        /// For `globals` only.
        access_control_allow_origin: TextOrNull,
        /// For `globals` only. Not known to MapProxy 7.0.0.
        compression: bool,
        concurrent_requests: i64,
    }
}

record! {
    /// `globals.cache`.
    pub struct GlobalCache {
        base_dir: Text,
        lock_dir: Text,
        tile_lock_dir: Text,
        directory_permissions: Text,
        file_permissions: Text,
        meta_size: Vec<Spanned<f64>>,
        meta_buffer: f64,
        bulk_meta_tiles: bool,
        max_tile_limit: f64,
        minimize_meta_requests: bool,
        concurrent_tile_creators: i64,
        link_single_color_images: BoolOrText,
        s3: GlobalS3,
        azureblob: GlobalAzureBlob,
        sqlite_timeout: f64,
        sqlite_wal: bool,
    }
}

record! {
    /// `globals.cache.s3`.
    pub struct GlobalS3 {
        bucket_name: Text,
        profile_name: Text,
        region_name: Text,
        endpoint_url: Text,
        access_control_list: Text,
        use_http_get: bool,
        include_grid_name: bool,
    }
}

record! {
    /// `globals.cache.azureblob`.
    pub struct GlobalAzureBlob {
        connection_string: Text,
        container_name: Text,
    }
}

record! {
    /// `globals.grid`.
    pub struct GlobalGrid {
        tile_size: Vec<Spanned<i64>>,
    }
}

record! {
    /// `globals.srs`.
    pub struct GlobalSrs {
        /// Without effect: the axis order is that of the CRS database.
        axis_order_ne: Vec<Spanned<Text>>,
        /// Without effect: the axis order is that of the CRS database.
        axis_order_en: Vec<Spanned<Text>>,
        proj_data_dir: Text,
        preferred_src_proj: Table<Vec<Spanned<Text>>>,
    }
}

record! {
    /// `globals.tiles`.
    pub struct GlobalTiles {
        expires_hours: f64,
    }
}

record! {
    /// `globals.mapserver`, and `mapserver` of a source.
    pub struct Mapserver {
        binary: Text,
        working_dir: Text,
    }
}

record! {
    /// `globals.renderd`.
    pub struct Renderd {
        address: Text,
    }
}

record! {
    /// `globals.background`.
    pub struct Background {
        url: Text,
    }
}
